"""Pages of lists: tokens are the base64 of the last row's key (hub-api 6.1), with the many-shard bugs kept."""

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest, nsmallest
from operator import attrgetter
from typing import Final, Protocol, TypeVar

from fc_pipeline.sample_hub.answers import Refusal
from fc_pipeline.sample_hub.feed import DEFAULT_PAGE_SIZE, page_size_of
from fc_pipeline.sample_hub.query import BadQuery, Query

__all__ = ["Keyed", "Paging", "ShardPages", "encoded_token", "page_of", "shard_pages", "token_of"]


class Keyed(Protocol):
    """A row of a list: its place in the order, and its JSON."""

    @property
    def sort_key(self) -> bytes:
        """What the list is ordered by, and what a token holds."""
        ...

    @property
    def raw(self) -> bytes:
        """The row's JSON as it came."""
        ...


R = TypeVar("R", bound=Keyed)
_SORT_KEY: Final = attrgetter("sort_key")


_ALPHABET: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def token_of(query: Query) -> bytes | None:
    """The page token as bytes, None for none or an empty one; a space in it was a plus sign (hub-api 1.2).

    Raises BadQuery, in the node's words, for what is not base64.
    """
    text = (query.text("page_token") or query.text("pageToken") or "").replace(" ", "+")
    if not text:
        return None
    raw = text.encode()
    for offset, symbol in enumerate(raw):
        if symbol not in _ALPHABET:
            raise BadQuery(f"Invalid symbol {symbol}, offset {offset}.")
    if len(raw.rstrip(b"=")) % 4 == 1:
        raise BadQuery(f"Invalid input length: {len(raw)}")
    try:
        return b64decode(raw, validate=True)
    except Base64Error as problem:
        raise BadQuery("Invalid padding") from problem


def encoded_token(token: bytes) -> str:
    """As answers show it."""
    return b64encode(token).decode()


@dataclass(frozen=True, slots=True)
class Paging:
    """The paging parameters of a request; `error` is the endpoint's fixed sentence for a token it refuses."""

    size: int
    reverse: bool
    token: bytes | None
    error: str

    @classmethod
    def of(cls, query: Query, error: str, default_size: int = DEFAULT_PAGE_SIZE) -> "Paging":
        """Raises BadQuery."""
        return cls(page_size_of(query, default_size), query.flag("reverse"), token_of(query), error)


def page_of(rows: Iterable[R], paging: Paging, after: bytes | None) -> tuple[list[R], bytes | None]:
    """Rows strictly after the key, and the last one's key if the page is full."""
    if after is not None:
        rows = [r for r in rows if (r.sort_key < after if paging.reverse else r.sort_key > after)]
    # Of an FID's very many rows a page is few: they need not all be sorted for each page.
    first = nlargest if paging.reverse else nsmallest
    page = first(paging.size, rows, key=_SORT_KEY)
    return page, page[-1].sort_key if len(page) == paging.size else None


@dataclass(frozen=True, slots=True)
class ShardPages:
    """Concatenated pages of all shards; `last_keys` holds None for a shard that is exhausted."""

    raws: list[bytes]
    last_keys: list[bytes | None]

    @property
    def exhausted(self) -> bool:
        """No shard has more."""
        return all(key is None for key in self.last_keys)

    @property
    def token(self) -> str:
        """The token even when exhausted: base64 of `[null,null]`, which restarts from the beginning (hub-api T4)."""
        entries = [None if key is None else list(key) for key in self.last_keys]
        return b64encode(json.dumps(entries, separators=(",", ":")).encode()).decode()


def shard_pages(rows_by_shard: Sequence[Sequence[Keyed]], paging: Paging) -> ShardPages:
    """One page of every shard; a shard whose entry in the token is null starts again from its first row.

    Raises Refusal for a token that is not one entry per shard.
    """
    after: list[bytes | None] = [None] * len(rows_by_shard)
    if paging.token is not None:
        after = _entries(paging, len(rows_by_shard))
    raws: list[bytes] = []
    last_keys: list[bytes | None] = []
    for rows, start in zip(rows_by_shard, after, strict=True):
        page, last = page_of(rows, paging, start)
        raws += [row.raw for row in page]
        last_keys.append(last)
    return ShardPages(raws, last_keys)


def _entries(paging: Paging, shards: int) -> list[bytes | None]:
    try:
        entries: list[list[int] | None] = json.loads(paging.token or b"")
        keys = [None if entry is None else bytes(entry) for entry in entries]
    except (ValueError, TypeError) as problem:
        raise Refusal(paging.error, "InvalidArgument", f"Invalid page token: {problem}") from problem
    if len(keys) != shards:
        raise Refusal(paging.error, "InvalidArgument", "Page token does not match number of shards")
    return keys
