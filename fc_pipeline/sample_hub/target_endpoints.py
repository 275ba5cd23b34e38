"""The many-shard endpoints, asked by target instead of FID, with their paging bugs (hub-api 6.1 and 6.5)."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from starlette.responses import Response

from fc_pipeline.sample_hub.answers import Refusal, json_list
from fc_pipeline.sample_hub.endpoints import MESSAGES_PAGE_SIZE, REACTION_TYPES, hex_of, reaction_type_of
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.paging import Paging, shard_pages
from fc_pipeline.sample_hub.query import Query
from fc_pipeline.sample_hub.state import FidSets, Row

__all__ = ["ENDPOINTS"]

Choose = Callable[[FidSets], Iterator[Row]]


def _answer(
    hub: SampleHub, query: Query, error: str, choose: Choose, *, ends: bool, url: str | None = None
) -> Response:
    """One page per shard; only where the list `ends` is the token empty once every shard is exhausted."""
    paging = Paging.of(query, error, MESSAGES_PAGE_SIZE)
    by_shard: dict[int, list[Row]] = {shard.shard: [] for shard in hub.shards}
    for sets in list(hub.state.fids.values()):
        for row in choose(sets):
            if row.shard in by_shard:
                by_shard[row.shard].append(row)
    if url is not None:
        by_shard = {shard: _without_longer(rows, url) for shard, rows in by_shard.items()}
    pages = shard_pages(list(by_shard.values()), paging)
    return json_list("messages", pages.raws, "" if ends and pages.exhausted else pages.token)


def _without_longer(rows: list[Row], url: str) -> list[Row]:
    """Matching is by key prefix: one row with a longer URL, and the shard's page is empty (hub-api 6.5)."""
    return [] if any(row_url(row) != url for row in rows) else rows


def row_url(row: Row) -> str | None:
    """The URL that a cast replies to, or that a reaction is for."""
    return row.detail[1]


def casts_by_parent(hub: SampleHub, query: Query) -> Response:
    fid, cast_hash, url = query.integer("fid"), query.text("hash"), query.text("url")
    error = "Failed to get casts by parent"
    if fid is not None and cast_hash:
        parent = (fid, hex_of(cast_hash, error))
        return _answer(hub, query, error, lambda s: (r for r in _casts(s) if r.detail[0] == parent), ends=False)
    if not url:
        raise Refusal("Invalid request", detail="either fid and hash, or url, must be given")
    return _answer(
        hub, query, error, lambda s: (r for r in _casts(s) if (r.detail[1] or "").startswith(url)), ends=False, url=url
    )


def casts_by_mention(hub: SampleHub, query: Query) -> Response:
    fid = query.required_integer("fid")
    error = "Failed to get casts by mention"
    return _answer(hub, query, error, lambda s: (r for r in _casts(s) if fid in r.detail[2]), ends=False)


def links_by_target_fid(hub: SampleHub, query: Query) -> Response:
    target_fid, link_type = query.integer("target_fid"), query.text("link_type")
    error = "Failed to get links by target fid"
    if target_fid is None:
        raise Refusal("target not specified")
    if not link_type:
        raise Refusal(error, "InvalidArgument", "link_type is required")

    def choose(sets: FidSets) -> Iterator[Row]:
        row = sets.links.get((link_type, target_fid))
        if row is not None and row.is_add:
            yield row

    return _answer(hub, query, error, choose, ends=False)


def reactions_by_cast(hub: SampleHub, query: Query) -> Response:
    target_fid = query.required_integer("target_fid")
    error = "Failed to get reactions by cast"
    target = (target_fid, hex_of(query.text("target_hash") or "", error))
    kind = reaction_type_of(query.choice("reaction_type", REACTION_TYPES))
    return _answer(hub, query, error, lambda s: _reactions(s, kind, lambda t: t == target), ends=True)


def reactions_by_target(hub: SampleHub, query: Query) -> Response:
    url = query.text("url")
    target_fid, target_hash = query.integer("target_cast_id[fid]"), query.text("target_cast_id[hash]")
    error = "Failed to get reactions by target"
    kind = reaction_type_of(query.choice("reaction_type", REACTION_TYPES))
    if target_fid is not None and target_hash:
        target = (target_fid, hex_of(target_hash, error))
        return _answer(hub, query, error, lambda s: _reactions(s, kind, lambda t: t == target), ends=True)
    if not url:
        raise Refusal("target not specified")

    def starts(target: Any) -> bool:
        return isinstance(target, str) and target.startswith(url)

    return _answer(hub, query, error, lambda s: _reactions(s, kind, starts), ends=True, url=url)


def _casts(sets: FidSets) -> Iterator[Row]:
    return (row for row in sets.casts.values() if row.is_add)


def _reactions(sets: FidSets, kind: str | None, wanted: Callable[[Any], bool]) -> Iterator[Row]:
    for (reaction_type, target), row in sets.reactions.items():
        if row.is_add and kind in (None, reaction_type) and wanted(target):
            yield row


ENDPOINTS: Final = {
    "/v1/castsByParent": casts_by_parent,
    "/v1/castsByMention": casts_by_mention,
    "/v1/linksByTargetFid": links_by_target_fid,
    "/v1/reactionsByCast": reactions_by_cast,
    "/v1/reactionsByTarget": reactions_by_target,
}
