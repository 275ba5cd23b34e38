"""Queries as people write them for Neynar's and Dune's tables, against a model in Python of what is in ours."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

Row = dict[str, Any]
START = datetime.fromtimestamp(HOUR_UNIX, UTC)
SECONDS = 80


def plain(value: Any) -> Any:
    """As a model has it: bytes as hex, times in UTC without zone, lists as tuples."""
    if isinstance(value, memoryview | bytes):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, list):
        return tuple(plain(one) for one in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value


@dataclass(frozen=True)
class Network:
    """What the base tables have, and what follows from it by the protocol's rules."""

    engine: sa.Engine

    def table(self, name: str) -> list[Row]:
        with self.engine.connect() as connection:
            found = connection.execute(sa.text(f"SELECT * FROM public.{name}")).mappings()
            return [{key: plain(value) for key, value in row.items()} for row in found]

    def live(self, name: str) -> list[Row]:
        return [row for row in self.table(name) if row["deleted_at"] is None]

    @cached_property
    def casts(self) -> list[Row]:
        return self.live("casts")

    @cached_property
    def reactions(self) -> list[Row]:
        return self.live("reactions")

    @cached_property
    def follows(self) -> set[tuple[int, int]]:
        return {(row["fid"], row["target_fid"]) for row in self.live("links") if row["type"] == "follow"}

    @cached_property
    def names(self) -> dict[int, str | None]:
        return {row["fid"]: row["username"] for row in self.table("user_profiles")}

    @cached_property
    def by_hash(self) -> dict[str, Row]:
        return {cast["hash"]: cast for cast in self.casts}

    def root(self, cast: Row) -> tuple[str, str | None]:
        """Hash and URL of the first cast of the thread."""
        while cast["parent_hash"] in self.by_hash:
            cast = self.by_hash[cast["parent_hash"]]
        return (cast["parent_hash"], None) if cast["parent_hash"] else (cast["hash"], cast["parent_url"])

    def embeds(self, cast: Row) -> list[Row]:
        if not cast["embeds"] and cast["embeds_deprecated"]:
            return [{"url": url} for url in cast["embeds_deprecated"]]
        return list(cast["embeds"])

    def quotes(self, cast: Row) -> list[tuple[str, int]]:
        return [(e["castId"]["hash"][2:], e["castId"]["fid"]) for e in self.embeds(cast) if "castId" in e]

    @cached_property
    def channel(self) -> str:
        """The URL below which most is said."""
        return Counter(url for _, url in map(self.root, self.casts) if url).most_common(1)[0][0]

    @cached_property
    def liked(self) -> str:
        targets = [reaction["target_hash"] for reaction in self.reactions if reaction["target_hash"]]
        return Counter(targets).most_common(1)[0][0]

    @cached_property
    def thread(self) -> str:
        return Counter(self.root(cast)[0] for cast in self.casts).most_common(1)[0][0]

    @cached_property
    def follower(self) -> int:
        return Counter(fid for fid, _ in self.follows).most_common(1)[0][0]

    @cached_property
    def followed(self) -> int:
        return Counter(target for _, target in self.follows).most_common(1)[0][0]

    @cached_property
    def mentioned(self) -> int:
        return Counter(fid for cast in self.casts for fid in cast["mentions"]).most_common(1)[0][0]


@pytest.fixture(scope="module")
def bench(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A replica with some of everything."""
    lines = list(generate(11, fids=40, events=2_400, events_per_second=30.0, start_unix=HOUR_UNIX, huge_fids=True))
    lake = tmp_path_factory.mktemp("known") / "lake"
    with (
        fresh_database(postgres) as database,
        serving(log_from_lines(lines)) as url,
        workbench(database, lake, url) as made,
    ):
        made.run()
        yield made


@pytest.fixture(scope="module")
def network(bench: Workbench) -> Network:
    return Network(bench.replica.engine)


def ask(network: Network, query: str, path: str = "neynar", **values: Any) -> list[tuple[Any, ...]]:
    """The rows that a query finds, in their order; its tables are of the schema `path`."""
    with network.engine.connect() as connection:
        connection.exec_driver_sql(f"SET search_path = {path}; SET timezone = 'UTC'")
        return [tuple(plain(value) for value in row) for row in connection.execute(sa.text(query), values)]


@dataclass(frozen=True)
class Query:
    """A query, the values of its parameters, and its rows, in any order, by the model."""

    sql: str
    rows: Callable[[Network], list[tuple[Any, ...]]]
    values: Callable[[Network], dict[str, Any]] = lambda _: {}
    path: str = "neynar"


def _reply_counts(network: Network) -> list[tuple[Any, ...]]:
    replies = [cast for cast in network.casts if cast["parent_hash"] in network.by_hash]
    return [
        (network.by_hash[parent]["text"], count)
        for parent, count in Counter(cast["parent_hash"] for cast in replies).items()
    ]


def _active(network: Network) -> list[tuple[Any, ...]]:
    users: dict[datetime, set[int]] = defaultdict(set)
    for row in (*network.casts, *network.reactions):
        users[row["timestamp"].replace(second=0, microsecond=0)].add(row["fid"])
    return [(minute, len(fids)) for minute, fids in users.items()]


def _with_wallets(network: Network) -> list[tuple[Any, ...]]:
    verified: dict[int, list[Row]] = defaultdict(list)
    for row in network.live("verifications"):
        verified[row["fid"]].append(row)
    return [(fid, name, len(verified[fid]) or None) for fid, name in network.names.items()]


QUERIES = {
    "what is said in a channel, replies included": Query(
        "SELECT hash, fid, text FROM casts WHERE root_parent_url = :url AND deleted_at IS NULL",
        lambda n: [(c["hash"], c["fid"], c["text"]) for c in n.casts if n.root(c)[1] == n.channel],
        lambda n: {"url": n.channel},
    ),
    "a whole thread": Query(
        "SELECT hash, parent_hash FROM casts WHERE root_parent_hash = :root AND deleted_at IS NULL ORDER BY timestamp",
        lambda n: [(c["hash"], c["parent_hash"]) for c in n.casts if n.root(c)[0] == n.thread],
        lambda n: {"root": bytes.fromhex(n.thread)},
    ),
    "quotes, by unnest": Query(
        "SELECT q.hash AS quoting, c.hash AS quoted, c.fid FROM casts AS q CROSS JOIN LATERAL "
        "unnest(q.embedded_casts) AS e (hash) JOIN casts AS c ON c.hash = e.hash AND c.deleted_at IS NULL "
        "WHERE q.deleted_at IS NULL",
        lambda n: [
            (c["hash"], quoted, n.by_hash[quoted]["fid"])
            for c in n.casts
            for quoted, _ in n.quotes(c)
            if quoted in n.by_hash
        ],
    ),
    "quoted users": Query(
        "SELECT unnest(embedded_casts_fids) AS fid, count(*) FROM casts WHERE deleted_at IS NULL GROUP BY 1",
        lambda n: list(Counter(fid for c in n.casts for _, fid in n.quotes(c)).items()),
    ),
    "shared links, out of embeds": Query(
        "SELECT embed->>'url' AS url, count(*) FROM casts, jsonb_array_elements(embeds) AS embed "
        "WHERE deleted_at IS NULL AND embed->>'url' IS NOT NULL GROUP BY 1 ORDER BY 2 DESC",
        lambda n: list(Counter(e["url"] for c in n.casts for e in n.embeds(c) if "url" in e).items()),
    ),
    "shared links, out of embedded_urls": Query(
        "SELECT u.url, count(DISTINCT fid) FROM casts CROSS JOIN LATERAL unnest(embedded_urls) AS u (url) "
        "WHERE deleted_at IS NULL GROUP BY 1",
        lambda n: [
            (url, len({c["fid"] for c in n.casts if {"url": url} in n.embeds(c)}))
            for url in {e["url"] for c in n.casts for e in n.embeds(c) if "url" in e}
        ],
    ),
    "likes and recasts of a cast": Query(
        "SELECT count(*) FILTER (WHERE reaction_type = 1) AS likes, count(*) FILTER (WHERE reaction_type = 2) AS "
        "recasts FROM reactions WHERE target_hash = :hash AND deleted_at IS NULL",
        lambda n: [
            tuple(
                sum(r["target_hash"] == n.liked and r["type"] == kind for r in n.reactions)
                for kind in ("like", "recast")
            )
        ],
        lambda n: {"hash": bytes.fromhex(n.liked)},
    ),
    "the most liked authors": Query(
        "SELECT p.username, count(*) FROM reactions AS r JOIN profiles AS p ON p.fid = r.target_fid "
        "WHERE r.reaction_type = 1 AND r.deleted_at IS NULL GROUP BY p.fid, p.username",
        lambda n: [
            (n.names[fid], count)
            for fid, count in Counter(r["target_fid"] for r in n.reactions if r["type"] == "like").items()
            if fid in n.names
        ],
    ),
    "whom a user follows, and who follows back": Query(
        "SELECT f.target_fid, b.fid IS NOT NULL FROM follows AS f LEFT JOIN follows AS b ON b.fid = f.target_fid "
        "AND b.target_fid = f.fid AND b.deleted_at IS NULL WHERE f.fid = :fid AND f.deleted_at IS NULL",
        lambda n: [(t, (t, f) in n.follows) for f, t in n.follows if f == n.follower],
        lambda n: {"fid": n.follower},
    ),
    "followers, counted and kept": Query(
        "SELECT c.fid, c.follower_count, (SELECT count(*) FROM follows AS f WHERE f.target_fid = c.fid "
        "AND f.deleted_at IS NULL) AS counted FROM follow_counts AS c WHERE c.follower_count > 0",
        lambda n: [(fid, count, count) for fid, count in Counter(t for _, t in n.follows).items()],
    ),
    "casts that mention a user": Query(
        "SELECT hash FROM casts WHERE mentions @> ARRAY[CAST(:fid AS bigint)] AND deleted_at IS NULL",
        lambda n: [(c["hash"],) for c in n.casts if n.mentioned in c["mentions"]],
        lambda n: {"fid": n.mentioned},
    ),
    "the most mentioned": Query(
        "SELECT unnest(mentions) AS fid, count(*) FROM casts WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC",
        lambda n: list(Counter(fid for c in n.casts for fid in c["mentions"]).items()),
    ),
    "casts with the most replies": Query(
        "SELECT c.text, count(*) FROM casts AS c JOIN casts AS r ON r.parent_hash = c.hash AND r.deleted_at IS NULL "
        "WHERE c.deleted_at IS NULL GROUP BY c.hash, c.text ORDER BY 2 DESC",
        _reply_counts,
    ),
    "casts of a stretch of time": Query(
        "SELECT hash, parent_url FROM casts WHERE timestamp >= :since AND timestamp < :until AND parent_hash IS NULL "
        "AND deleted_at IS NULL ORDER BY timestamp DESC",
        lambda n: [
            (c["hash"], c["parent_url"])
            for c in n.casts
            if not c["parent_hash"] and 20 <= (c["timestamp"] - plain(START)).total_seconds() < 60
        ],
        lambda _: {"since": plain(START + timedelta(seconds=20)), "until": plain(START + timedelta(seconds=60))},
    ),
    "users by verified address": Query(
        "SELECT v.address, p.fid, p.display_name FROM verifications AS v JOIN profiles AS p ON p.fid = v.fid "
        "WHERE v.protocol = 0 AND v.deleted_at IS NULL",
        lambda n: [
            (v["address"][2:], p["fid"], p["display_name"])
            for v in n.live("verifications")
            for p in n.table("user_profiles")
            if p["fid"] == v["fid"] and v["protocol"] == "ethereum"
        ],
    ),
    "profiles with their wallets": Query(
        "SELECT profile_fid, profile_username, jsonb_array_length(verifications) FROM profiles_with_verifications",
        _with_wallets,
    ),
    "who holds a name": Query(
        "SELECT username, fid::bigint, type::integer FROM usernames WHERE deleted_at IS NULL AND fid IS NOT NULL",
        lambda n: [
            (row["name"], row["fid"], {"fname": 1, "ens": 2, "basename": 3}[row["type"]])
            for row in n.live("username_proofs")
            if row["fid"] <= 2**31 - 1
        ],
    ),
    "users by app": Query(
        "SELECT app_fid, count(DISTINCT fid) FROM signers WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC",
        lambda n: [
            (
                app,
                len(
                    {
                        s["fid"]
                        for s in n.table("signers")
                        if s["app_fid"] == app and s["removed_at"] is None and s["key_type"] != 2
                    }
                ),
            )
            for app in {s["app_fid"] for s in n.table("signers") if s["removed_at"] is None and s["key_type"] != 2}
        ],
    ),
    "units of storage that are left": Query(
        "SELECT fid, sum(units) FROM storage_rentals WHERE expiry > :now AND fid IS NOT NULL GROUP BY 1",
        lambda n: [
            (
                fid,
                sum(r["units"] for r in n.table("storage_rents") if r["fid"] == fid and r["expires_at"] > plain(START)),
            )
            for fid in {
                r["fid"] for r in n.table("storage_rents") if r["expires_at"] > plain(START) and r["fid"] < 2**31
            }
        ],
        lambda _: {"now": plain(START)},
    ),
    "the custody address of a user": Query(
        "SELECT fid::bigint, encode(custody_address, 'hex') FROM fids WHERE fid IS NOT NULL",
        lambda n: [
            (p["fid"], p["custody_address"][2:])
            for p in n.table("user_profiles")
            if p["custody_address"] and p["fid"] < 2**31
        ],
    ),
    "dune: the liveliest channels": Query(
        "SELECT coalesce(root_parent_url, parent_url) AS channel, count(*) AS casts, count(DISTINCT fid) AS users "
        "FROM dune.dataset_farcaster_casts WHERE deleted_at IS NULL AND created_at > :since GROUP BY 1",
        lambda n: [
            (url, sum(n.root(c)[1] == url for c in n.casts), len({c["fid"] for c in n.casts if n.root(c)[1] == url}))
            for url in {n.root(c)[1] for c in n.casts}
        ],
        lambda _: {"since": plain(START - timedelta(days=7))},
        path="public",
    ),
    "dune: active users by minute": Query(
        "SELECT date_trunc('minute', created_at) AS minute, count(DISTINCT fid) FROM (SELECT fid, created_at "
        "FROM dune.dataset_farcaster_casts WHERE deleted_at IS NULL UNION ALL SELECT fid, created_at "
        "FROM dune.dataset_farcaster_reactions WHERE deleted_at IS NULL) AS acts GROUP BY 1 ORDER BY 1",
        _active,
        path="public",
    ),
    "dune: followers": Query(
        "SELECT count(*) FROM dune.dataset_farcaster_links WHERE target_fid = :fid AND deleted_at IS NULL",
        lambda n: [(sum(target == n.followed for _, target in n.follows),)],
        lambda n: {"fid": n.followed},
        path="public",
    ),
    "dune: names of users": Query(
        "SELECT fid, value FROM dune.dataset_farcaster_user_data WHERE type = 6 AND deleted_at IS NULL",
        lambda n: [(d["fid"], d["value"]) for d in n.live("user_data") if d["type"] == "username"],
        path="public",
    ),
    "dune: wallets out of claims": Query(
        "SELECT fid, claim->>'address' FROM dune.dataset_farcaster_verifications WHERE deleted_at IS NULL",
        lambda n: [(v["fid"], v["address"]) for v in n.live("verifications")],
        path="public",
    ),
    "dune: profiles": Query(
        "SELECT fid, fname, jsonb_array_length(verified_addresses) FROM dune.dataset_farcaster_profile_with_addresses",
        lambda n: [
            (p["fid"], p["username"], sum(v["fid"] == p["fid"] and v["protocol"] == "ethereum" for v in verified))
            for verified in [n.live("verifications")]
            for p in n.live("user_profiles")
        ],
        path="public",
    ),
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=list(QUERIES))
def test_a_query_finds_what_the_model_says(query: Query, network: Network) -> None:
    wanted = query.rows(network)
    assert wanted  # the sample has some
    assert Counter(ask(network, query.sql, query.path, **query.values(network))) == Counter(wanted)


def test_a_pull_by_updated_at_brings_every_row_once(network: Network) -> None:
    """As importers do it: everything from the greatest updated_at on, a page at a time, upserted by id."""
    for view, table, condition in (
        ("casts", "casts", "true"),
        ("reactions", "reactions", "true"),
        ("follows", "links", "type = 'follow'"),
        ("verifications", "verifications", "true"),
        ("profiles", "user_profiles", "true"),
        ("usernames", "username_proofs", "true"),
    ):
        copy: set[str] = set()
        cursor = (datetime(2000, 1, 1), "00000000-0000-0000-0000-000000000000")
        while rows := ask(
            network,
            f"SELECT updated_at, id::text FROM {view} WHERE (updated_at, id::text) > (:at, :id) "
            "ORDER BY updated_at, id::text LIMIT 300",
            at=cursor[0],
            id=cursor[1],
        ):
            assert copy.isdisjoint(row[1] for row in rows)
            copy |= {row[1] for row in rows}
            cursor = rows[-1]
        (wanted,) = ask(network, f"SELECT count(*) FROM public.{table} WHERE {condition}")
        assert (len(copy),) == wanted


def test_ids_tell_rows_apart(network: Network) -> None:
    for view in ("neynar.casts", "neynar.reactions", "neynar.follows", "neynar.verifications", "neynar.profiles",
                 "neynar.usernames", "neynar.fids", "neynar.signers", "neynar.storage_rentals", "neynar.follow_counts",
                 "dune.dataset_farcaster_casts", "dune.dataset_farcaster_reactions", "dune.dataset_farcaster_links",
                 "dune.dataset_farcaster_verifications", "dune.dataset_farcaster_user_data",
                 "dune.dataset_farcaster_signers", "dune.dataset_farcaster_storage"):  # fmt: skip
        ((rows, ids),) = ask(network, f"SELECT count(*), count(DISTINCT id) FROM {view}")
        assert rows == ids > 0, view


def test_every_value_of_every_view_can_be_read(network: Network) -> None:
    """Whatever the sample has, such as an FID that no integer holds, no view stumbles over it."""
    with network.engine.connect() as connection:
        views = connection.execute(
            sa.text("SELECT schemaname || '.' || viewname FROM pg_views WHERE schemaname IN ('neynar', 'dune')")
        ).scalars()
        for view in list(views):
            connection.exec_driver_sql(f"SELECT * FROM {view}").fetchall()


def test_live_casts_have_their_root_and_dead_ones_nothing_but_their_key(network: Network) -> None:
    rows = ask(network, "SELECT hash, deleted_at, root_parent_hash, text, embeds FROM casts")
    assert (
        {row[0] for row in rows if row[1] is not None}
        == {row["hash"] for row in network.table("casts") if row["deleted_at"] is not None}
        != set()
    )
    for cast_hash, deleted_at, root, text, embeds in rows:
        if deleted_at is None:
            assert root == network.root(network.by_hash[cast_hash])[0]
            assert text is not None
        else:
            assert (text, embeds) == (None, None)
