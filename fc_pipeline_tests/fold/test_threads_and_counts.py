"""Threads and counts are what a plain reading of the tables gives, in whatever order, cut and company things came."""

import re
from collections import Counter, defaultdict
from random import Random
from threading import Barrier, Thread
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.store import derived
from fc_pipeline.store.counts import wrong
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.cast_threads import THREADS
from fc_pipeline.tables.counts import CAST_COUNTS, COUNT_TABLES, USER_COUNTS
from fc_pipeline_tests.support.events import (
    NOW,
    Event,
    Json,
    block,
    cast_add,
    cast_remove,
    link,
    merge,
    micro_batch,
    reaction,
)
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import Database

Thread_ = tuple[bytes, int, str | None, int]


def reply(fid: int, parent: Json, text: str = "a reply") -> Json:
    return cast_add(fid, text, parentCastId={"fid": parent["data"]["fid"], "hash": parent["hash"]})


def walked(rows: list[tuple[Any, ...]]) -> dict[bytes, Thread_]:
    """Root hash, root author, root URL and depth of each live cast, by going up from each."""
    casts = {hash_: (fid, parent, parent_fid, url) for hash_, fid, parent, parent_fid, url in rows}
    found: dict[bytes, Thread_] = {}
    for start in casts:
        chain = [start]
        while chain[-1] not in found and casts[chain[-1]][1] in casts:
            chain.append(casts[chain[-1]][1] or b"")
        top = chain.pop()
        if top not in found:
            fid, parent, parent_fid, url = casts[top]
            found[top] = (top, fid, url, 0) if parent is None else (parent, parent_fid or 0, None, 1)
        for hash_ in reversed(chain):
            root, root_fid, url, depth = found[casts[hash_][1] or b""]
            found[hash_] = (root, root_fid, url, depth + 1)
    return found


def check(replica: FoldedDatabase) -> None:
    """Hold threads and counts against the tables, read as a whole and counted in Python."""
    rows = replica.live("casts", "hash, fid, parent_hash, parent_fid, parent_url")
    threads = {
        row.hash: (row.root_hash, row.root_fid, row.root_url, row.depth)
        for row in replica.rows("SELECT * FROM cast_threads")
    }
    assert threads == walked(rows)
    of_casts: defaultdict[bytes, Counter[str]] = defaultdict(Counter)
    of_users: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for _, fid, parent, _, _ in rows:
        of_users[fid]["casts"] += 1
        if parent is not None:
            of_casts[parent]["replies"] += 1
    for row in replica.rows("SELECT type, target_hash, target_fid FROM reactions WHERE deleted_at IS NULL"):
        if row.target_hash is not None:
            of_casts[row.target_hash][f"{row.type}s"] += 1
            of_users[row.target_fid]["reactions_received"] += 1
    for row in replica.rows("SELECT fid, target_fid FROM links WHERE deleted_at IS NULL AND type = 'follow'"):
        of_users[row.fid]["following"] += 1
        of_users[row.target_fid]["followers"] += 1
    for row in replica.rows("SELECT cast_hash FROM embeds WHERE cast_hash IS NOT NULL"):
        of_casts[row.cast_hash]["quotes"] += 1
    for table, expected in ((CAST_COUNTS, of_casts), (USER_COUNTS, of_users)):
        found = {
            getattr(row, table.key.name): {name: getattr(row, name) for name in table.names if getattr(row, name)}
            for row in replica.rows(f"SELECT * FROM {table.name}")
        }
        assert found == {key: dict(counts) for key, counts in expected.items()}
        assert replica.rows(wrong(table)) == []


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Casts that reply to and quote one another, what is said of them, and removes, in the order of their events."""
    rng = Random(draw(st.integers(0, 2**32)))
    casts = [cast_add(1 + n % 4, f"cast {n}", NOW + n, parentUrl=f"https://x.example/{n}") for n in range(3)]
    for n in range(draw(st.integers(3, 25))):
        parent = rng.choice(casts)
        body: Json = {}
        if rng.random() < 0.8:
            body["parentCastId"] = {"fid": parent["data"]["fid"], "hash": parent["hash"]}
        if rng.random() < 0.3:
            quoted = rng.choice(casts)
            body["embeds"] = [{"castId": {"fid": quoted["data"]["fid"], "hash": quoted["hash"]}}] * rng.choice((1, 2))
        casts.append(cast_add(1 + n % 5, f"answer {n}", NOW + 10 + n, **body))
    events = [merge(one) for one in casts]
    for n in range(draw(st.integers(0, 20))):
        target = rng.choice(casts)
        cast_id, by = (target["data"]["fid"], target["hash"]), rng.randrange(1, 6)
        kind, is_add = rng.choice(("LIKE", "RECAST")), rng.random() < 0.7
        events.append(merge(reaction(by, cast_id, kind, NOW + 100 + n, add=is_add)))
        events.append(merge(link(by, rng.randrange(1, 6), NOW + 100 + n, add=rng.random() < 0.7)))
    gone = rng.sample(casts, draw(st.integers(0, 4)) % len(casts))
    events += [merge(cast_remove(one["data"]["fid"], one["hash"], NOW + 500)) for one in gone]
    return events


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(events=histories(), rng=st.randoms(use_true_random=False))
def test_any_order_and_cutting(
    folded_database: FoldedDatabase, writer: FoldSession, events: list[Event], rng: Random
) -> None:
    folded_database.empty()
    rng.shuffle(events)
    blocks: list[list[Event]] = []
    while events:
        size = rng.choice((1, 1, 2, 5, 12))
        blocks.append(events[:size])
        events = events[size:]
    placed = [(1_000 + n, block(1_000 + n, several)) for n, several in enumerate(blocks)]
    for height, lines in rng.sample(placed, len(placed)):
        writer.fold(micro_batch({height: lines}))
        check(folded_database) if rng.random() < 0.3 else None
    check(folded_database)
    once = folded_database.dump()
    for height, lines in placed:
        writer.refold(micro_batch({height: lines}))
    assert folded_database.dump() == once


@pytest.mark.parametrize("backwards", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_chain_of_ten_thousand(replica: FoldedDatabase, writer: FoldSession, backwards: bool) -> None:
    chain = [cast_add(1, "the root", parentUrl="https://x.example")]
    for n in range(10_000):
        chain.append(reply(1 + n % 7, chain[-1], f"reply {n}"))
    parts = [chain[place : place + 2_000] for place in range(0, len(chain), 2_000)]
    numbered = list(enumerate(parts, 1_000))
    for height, part in reversed(numbered) if backwards else numbered:
        writer.fold(micro_batch({height: block(height, [merge(one) for one in part])}))
    (deepest,) = replica.rows("SELECT * FROM cast_threads ORDER BY depth DESC LIMIT 1")
    root = bytes.fromhex(chain[0]["hash"][2:])
    assert (deepest.depth, deepest.root_hash, deepest.root_url) == (10_000, root, "https://x.example")
    (counted,) = replica.rows("SELECT count(*) AS casts FROM cast_threads WHERE root_hash = :root", root=root)
    assert counted.casts == 10_001
    middle = chain[5_000]
    writer.fold(micro_batch({9_000: block(9_000, [merge(cast_remove(middle["data"]["fid"], middle["hash"]))])}))
    check(replica)


def test_all_threads_are_derived_by_index_however_many_there_are(database: Database) -> None:
    """As at an upgrade of a large replica: with no memory to keep all hashes in, none is compared with all others."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL work_mem = '64kB'"))
        connection.execute(sa.text(_MANY_CASTS))
        connection.execute(sa.text("DELETE FROM cast_threads"))
        connection.exec_driver_sql(derived.create_scope(THREADS))
        connection.exec_driver_sql(derived.stage_touched(THREADS, [("casts", "public.casts")]))
        connection.exec_driver_sql(f"ANALYZE {derived.scope_name(THREADS)}")
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {derived.derive(THREADS)}"))
        connection.exec_driver_sql(derived.derive(THREADS))
    assert "SubPlan" in plan
    for unhashed in re.findall(r"^( *)SubPlan.*\n(.*)$", plan, re.MULTILINE):
        assert "CTE Scan" not in unhashed[1], plan
        assert "Seq Scan" not in unhashed[1], plan
    replica = FoldedDatabase(database.url, database.engine)
    threads = {row.hash: (row.root_hash, row.depth) for row in replica.rows("SELECT * FROM cast_threads")}
    rows = replica.live("casts", "hash, fid, parent_hash, parent_fid, parent_url")
    assert threads == {hash_: (root, depth) for hash_, (root, _, _, depth) in walked(rows).items()}


_MANY_CASTS = """
INSERT INTO casts (hash, fid, parent_hash, parent_fid, text, timestamp, version)
SELECT decode(md5(n::text), 'hex'), n % 50, CASE WHEN n % 4 > 0 THEN decode(md5((n / 2)::text), 'hex') END,
  (n / 2) % 50, '', now(), n FROM generate_series(1, 20000) AS n
"""


def test_a_ring_of_parents_ends(replica: FoldedDatabase) -> None:
    """No two real hashes name each other; a hub's answer may."""
    one, other = cast_add(1, "one"), cast_add(2, "other")
    for cast, parent in ((one, other), (other, one)):
        cast["data"]["castAddBody"]["parentCastId"] = {"fid": parent["data"]["fid"], "hash": parent["hash"]}
    replica.fold([merge(one)], [merge(other)])
    (found,) = replica.rows("SELECT count(*) AS rows FROM casts WHERE deleted_at IS NULL")
    assert found.rows == 2


def test_two_shards_at_once_with_hot_keys(replica: FoldedDatabase) -> None:
    """Each shard replies to the other's casts and reacts to the same few, in folds that run beside each other."""
    casts: dict[int, list[Json]] = {1: [], 2: []}
    contents: dict[int, list[list[Event]]] = {1: [], 2: []}
    hot = cast_add(3, "everybody's")
    for n in range(40):
        for shard in (1, 2):
            parent = casts[3 - shard][-1] if casts[3 - shard] else hot
            cast = reply(10 * shard + n % 3, parent, f"{shard}.{n}")
            casts[shard].append(cast)
            likes = [merge(reaction(1_000 * shard + n, (3, hot["hash"])))]
            follows = [merge(link(1_000 * shard + n, 3)), merge(link(3, 1_000 * shard + n))]
            contents[shard].append([merge(cast), *likes, *follows])
    start = Barrier(2)
    failures: list[BaseException] = []

    def follow(shard: int) -> None:
        try:
            with FoldSession(replica.url, f"shard {shard}") as session:
                start.wait()
                for n, events in enumerate(contents[shard]):
                    height = 1_000 + n
                    lines = {height: block(height, events, shard=shard)}
                    session.fold(micro_batch(lines, shard=shard))
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=follow, args=(shard,)) for shard in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    check(replica)
    with FoldSession(replica.url, "late") as session:
        session.fold(micro_batch({5_000: block(5_000, [merge(hot)])}))
    check(replica)


COUNTED = {table.name for table in COUNT_TABLES} | {one.source.name for table in COUNT_TABLES for one in table.counts}

BY_HAND = (
    "UPDATE casts SET deleted_at = now(), parent_hash = NULL WHERE fid = 1",
    "DELETE FROM reactions WHERE fid % 2 = 0",
    "DELETE FROM casts WHERE fid = 2",
    "INSERT INTO links (fid, type, target_fid, version) VALUES (77, 'follow', 1, 1), (78, 'block', 1, 1)",
    "UPDATE links SET type = 'mute' WHERE fid = 77",
    "DELETE FROM embeds",
)


def test_rows_changed_by_hand_are_counted_too(replica: FoldedDatabase, writer: FoldSession) -> None:
    casts = [cast_add(1 + n % 3, f"cast {n}") for n in range(6)]
    quotes = [cast_add(4, "see", embeds=[{"castId": {"fid": c["data"]["fid"], "hash": c["hash"]}}]) for c in casts]
    replies = [reply(5, one) for one in casts]
    likes = [reaction(by, (one["data"]["fid"], one["hash"])) for by in (1, 2, 3) for one in casts]
    events = [merge(one) for one in (*casts, *quotes, *replies, *likes, link(1, 2), link(2, 1))]
    writer.fold(micro_batch({1_000: block(1_000, events)}))
    for statement in BY_HAND:
        with replica.engine.begin() as connection:
            connection.execute(sa.text(statement))
        for table in COUNT_TABLES:
            assert replica.rows(wrong(table)) == [], statement


@pytest.mark.parametrize("lost", [*sorted(COUNTED), "cast_threads"])
def test_a_lost_table_leaves_no_stale_counts(database: Database, lost: str) -> None:
    replica = FoldedDatabase(database.url, database.engine)
    root = cast_add(1, "root")
    quote = cast_add(3, "see", embeds=[{"castId": {"fid": 1, "hash": root["hash"]}}])
    said = [root, reply(2, root), quote, reaction(2, (1, root["hash"])), link(2, 1)]
    replica.fold([merge(one) for one in said])
    with database.engine.begin() as connection:
        connection.execute(sa.text(f"DROP TABLE {lost} CASCADE"))
    ensure_schema(database.engine)
    for table in COUNT_TABLES:
        assert replica.rows(wrong(table)) == []
    with FoldSession(replica.url, "again") as session:
        height = 1_000
        session.refold(micro_batch({height: block(height, [merge(one) for one in said])}))
    check(replica)
