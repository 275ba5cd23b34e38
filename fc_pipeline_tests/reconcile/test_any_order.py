"""Snapshots and events in any order: once all events are folded the tables are the hub's, and nothing was drift."""

from base64 import b64decode
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.reconcile.outcome import Reconciled
from fc_pipeline.reconcile.reconciler import Reconciler
from fc_pipeline.store.snapshot_ledger import SnapshotLine, record
from fc_pipeline_tests.support.answers import ANSWERS, cast_rows, cast_values, hashed, live_rows
from fc_pipeline_tests.support.events import (
    Json,
    micro_batch,
)
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.random_operations import FIDS, HOME, NAME_TYPES, random_operation
from fc_pipeline_tests.support.small_hub import Reading, SmallHub


@dataclass
class RandomHistory:
    """A hub, a replica that reads it, and what is under way between them."""

    replica: FoldedDatabase
    session: FoldSession
    reconciler: Reconciler
    rng: Random
    hub: SmallHub
    unfolded: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    readings: list[Reading] = field(default_factory=list[Reading])
    read: list[Reading] = field(default_factory=list[Reading])
    folded: Reconciled = field(default_factory=Reconciled)
    clock: int = 0
    comparisons: int = 0

    def add_block(self) -> None:
        self.clock += 1
        # Heights of the shards drift apart.
        shard = self.rng.choice((1, 2, 2, 2))
        if self.rng.random() < 0.15:
            known = [fid for fid in FIDS if self.hub.is_registered(fid)]
            name, fid = self.rng.choice(("a", "b")), self.rng.choice((0, *known))
            self.hub.transfer(name, fid, self.clock, bytes([self.clock % 256]) * 65)
        operations = [
            random_operation(self.rng, self.rng.choice(HOME[shard]), self.clock) for _ in range(self.rng.randint(0, 3))
        ]
        self.unfolded.append((shard, self.hub.add_block(shard, operations)))

    def fold_one(self) -> None:
        """In order, or the newest first."""
        if self.unfolded:
            shard, height = self.unfolded.pop(self.rng.choice((0, 0, -1)))
            self.session.fold(micro_batch(self.hub.blocks(shard), height, height, shard))

    def begin_reading(self) -> None:
        self.readings.append(Reading(self.hub, self.rng.choice(FIDS), self.rng.choice((1, 2, 1000))))

    def read_on(self) -> None:
        if self.readings:
            reading = self.rng.choice(self.readings)
            for _ in range(self.rng.choice((1, 3, 20))):
                if not reading.step():
                    self.readings.remove(reading)
                    self.read.append(reading)
                    break

    def fold_snapshots(self) -> None:
        """Some of those that were read, each alone or all in one."""
        chosen = self.rng.sample(self.read, self.rng.randint(0, len(self.read)))
        groups = [[one] for one in chosen] if self.rng.random() < 0.5 else [chosen]
        for group in groups:
            # One snapshot per FID in a fold.
            group = list({one.fid: one for one in group}.values())
            self.fold_together(group)
            for one in group:
                self.read.remove(one)

    def fold_together(self, group: list[Reading]) -> Reconciled:
        """The ids before and after of a chunk are those of all its readings."""
        shards = self.hub.home
        self.note(group)
        found = self.reconciler.fold(
            [one.snapshot for one in group],
            [one.records for one in group],
            ids_before={s: min(one.ids_before[s] for one in group) for s in shards} if group else None,
            ids_after={s: max(one.ids_after[s] for one in group) for s in shards} if group else None,
        )
        assert found.drift == {}, found.examples
        self.folded += found
        return found

    def note(self, group: list[Reading]) -> None:
        """Have the snapshots in their ledger, as the walk over the buckets does it."""
        taken = [one.snapshot for one in group]
        lines = [
            SnapshotLine(t.fid, t.shard, t.fid % 256, t.version, t.until_id, "file", 1, 1, t.fetched_at) for t in taken
        ]
        with self.replica.engine.begin() as connection:
            record(connection, lines, "audit")

    def compare(self) -> None:
        """When everything up to the hub's state is folded, the tables say what the hub says."""
        if self.unfolded:
            return
        check_equal(self.replica, self.hub)
        self.comparisons += 1

    def fold_everything(self) -> None:
        while self.unfolded:
            self.fold_one()


def check_equal(replica: FoldedDatabase, hub: SmallHub) -> None:
    answers: dict[str, list[Json]] = {}
    for fid in FIDS:
        for kind, found in hub.answers(fid).items():
            answers.setdefault(kind, []).extend(found)
    adds = [m for m in answers.get("casts", []) if m["data"]["type"] == "MESSAGE_TYPE_CAST_ADD"]
    assert cast_rows(replica) == {hashed(m): cast_values(m) for m in adds}
    for table, (_, values_of) in ANSWERS.items():
        assert live_rows(replica, table) == {hashed(m): values_of(m) for m in answers.get(table, [])}, table
    # Of a name that is on its way to the other shard, the two shards say different things.
    moving = {one["name"] for due in hub.names_due.values() for one in due}
    names = newest_proofs([one for one in answers.get("username_proofs", []) if one["name"] not in moving])
    rows = [r for r in replica.rows("SELECT * FROM username_proofs WHERE deleted_at IS NULL") if r.name not in moving]
    assert {(r.name, NAME_TYPES[r.type], r.fid, r.owner, int(r.timestamp.timestamp())) for r in rows} == names
    chain = {(e["transactionHash"], e["fid"]) for e in answers.get("on_chain_events", [])}
    found_chain = replica.rows("SELECT transaction_hash, fid FROM on_chain_events WHERE deleted_at IS NULL")
    assert {("0x" + row[0].hex(), row[1]) for row in found_chain} == chain
    check_profiles(replica, answers)


def newest_proofs(proofs: list[Json]) -> set[tuple[Any, ...]]:
    """A name that is moving from one shard's FID to another's is listed for both: the newest proof holds it."""
    newest: dict[str, Json] = {}
    for one in proofs:
        held = newest.get(one["name"])
        if held is None or (one["timestamp"], b64decode(one["signature"])) > (
            held["timestamp"],
            b64decode(held["signature"]),
        ):
            newest[one["name"]] = one
    return {(p["name"], p["type"], p["fid"], p["owner"], p["timestamp"]) for p in newest.values()}


def check_profiles(replica: FoldedDatabase, answers: dict[str, list[Json]]) -> None:
    expected: dict[int, dict[str, str]] = {}
    holders: dict[str, set[int]] = {}
    for proved in replica.rows("SELECT name, fid FROM username_proofs WHERE deleted_at IS NULL"):
        holders.setdefault(proved.name, set()).add(proved.fid)
    for message in answers.get("user_data", []):
        body = message["data"]["userDataBody"]
        column = {"USER_DATA_TYPE_USERNAME": "username", "USER_DATA_TYPE_BIO": "bio"}[body["type"]]
        fid, value = message["data"]["fid"], body["value"]
        # Nobody is shown under a name whose proof is another's.
        if value and not (column == "username" and holders.get(value, {fid}).isdisjoint({fid})):
            expected.setdefault(fid, {})[column] = value
    rows = replica.rows("SELECT fid, username, bio FROM user_profiles WHERE deleted_at IS NULL")
    found = {r.fid: {c: v for c, v in (("username", r.username), ("bio", r.bio)) if v is not None} for r in rows}
    assert {fid: values for fid, values in found.items() if values} == expected


@pytest.fixture(scope="module")
def reconciler(folded_database: FoldedDatabase) -> Any:
    with Reconciler(folded_database.url, "audit") as made:
        yield made


def run_history(course: RandomHistory, steps: int) -> None:
    course.replica.empty()
    course.hub.record_origins(course.replica.engine)
    actions = [
        *[course.add_block] * 5,
        *[course.fold_one] * 5,
        *[course.begin_reading] * 2,
        *[course.read_on] * 5,
        *[course.fold_snapshots] * 2,
        course.fold_everything,
    ]
    for _ in range(steps):
        course.rng.choice(actions)()
        course.compare()
    for one in course.readings:
        course.read.append(one.finish())
    course.readings = []
    course.fold_snapshots()
    course.fold_everything()
    course.compare()


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), first_height=st.sampled_from((1, 5000)))
def test_events_and_snapshots_in_any_order_make_the_tables_the_hubs_and_nothing_is_drift(
    folded_database: FoldedDatabase, writer: FoldSession, reconciler: Reconciler, seed: int, first_height: int
) -> None:
    hub = SmallHub(HOME, first_height)
    run_history(RandomHistory(folded_database, writer, reconciler, Random(seed), hub), steps=60)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), first_height=st.sampled_from((1, 5000)))
def test_events_and_snapshots_in_many_orders_make_the_tables_the_hubs_and_nothing_is_drift(
    folded_database: FoldedDatabase, writer: FoldSession, reconciler: Reconciler, seed: int, first_height: int
) -> None:
    hub = SmallHub(HOME, first_height)
    run_history(RandomHistory(folded_database, writer, reconciler, Random(seed), hub), steps=60)
