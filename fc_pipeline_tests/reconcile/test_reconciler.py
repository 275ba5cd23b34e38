"""What a snapshot corrects, what it leaves alone, and what of it is drift."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.reconcile.comparability import LEDGER_WAIT_SECONDS
from fc_pipeline.reconcile.compare_sql import COMPARED
from fc_pipeline.reconcile.outcome import Reconciled
from fc_pipeline.reconcile.reconciler import Reconciler
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store.counts import wrong
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.store.snapshot_ledger import SnapshotLine, record
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline_tests.support.events import (
    HOUR,
    HOUR_UNIX,
    NOW,
    Json,
    cast_add,
    cast_remove,
    chain_event,
    compact_state,
    link,
    micro_batch,
    reaction,
)
from fc_pipeline_tests.support.folded import FoldedDatabase, as_folded
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.small_hub import Line, Reading, SmallHub, record_batch

SNAPSHOT_TABLES = tuple(table.name for table in COMPARED)


@dataclass(frozen=True)
class Audit:
    """A replica of a hub with a generated log, all of it folded, and its audits."""

    hub: SmallHub
    replica: FoldedDatabase
    reconciler: Reconciler

    @property
    def fids(self) -> list[int]:
        return sorted(fid for fids in self.hub.home.values() for fid in fids)

    def run(self, fids: list[int] | None = None, *, chunk: int = 1000, write: bool = True) -> Reconciled:
        """Snapshots of these FIDs, or of all, folded so many at a time."""
        asked = self.fids if fids is None else fids
        found = Reconciled()
        for at in range(0, len(asked), chunk):
            found += self._fold([Reading(self.hub, fid, 1000).finish() for fid in asked[at : at + chunk]], write=write)
        return found

    def _fold(self, readings: list[Reading], *, write: bool) -> Reconciled:
        taken = [one.snapshot for one in readings]
        lines = [
            SnapshotLine(t.fid, t.shard, t.fid % 256, t.version, t.until_id, "file", 1, 1, t.fetched_at) for t in taken
        ]
        with self.replica.engine.begin() as connection:
            record(connection, lines, "audit")
        head_ids = self.hub.head_ids()
        records = [one.records for one in readings]
        return self.reconciler.fold(taken, records, ids_before=head_ids, ids_after=head_ids, write=write)

    def execute(self, *statements: str) -> int:
        """Do something to the tables behind the pipeline's back; how many rows that was."""
        with self.replica.engine.begin() as connection:
            return sum(connection.execute(sa.text(statement)).rowcount for statement in statements)

    def live(self) -> dict[str, list[str]]:
        """All live rows without their versions."""
        # Of a row that a snapshot brought back, the block is not known, and so the time of what it mentions may differ.
        told = "to_jsonb(t) - ARRAY['version', 'block_time', 'network_time', 'updated_at', 'changed_at', 'change_id']"
        query = f"SELECT ({told})::text FROM {{}} AS t WHERE deleted_at IS NULL ORDER BY 1"
        return {table: [row[0] for row in self.replica.rows(query.format(table))] for table in SNAPSHOT_TABLES}


@pytest.fixture(scope="module")
def filled(postgres: EmbeddedPostgres) -> Iterator[Audit]:
    """Everything folded from the feed, and every FID snapshotted once."""
    lines = generate(
        5, fids=60, events=6_000, start_unix=HOUR_UNIX, events_per_second=40, huge_fids=True, unknown_types=True
    )
    hub = SmallHub.of_log(lines)
    hub.names.add("nobodys")
    with fresh_database(postgres) as database:
        ensure_schema(database.engine)
        replica = FoldedDatabase(database.url, database.engine)
        with FoldSession(replica.url, "feed") as session, Reconciler(replica.url, "audit") as reconciler:
            hub.record_origins(replica.engine, begun_unix=HOUR_UNIX)
            for shard in hub.home:
                session.fold(micro_batch(hub.blocks(shard), shard=shard, shard_count=2))
            yield Audit(hub, replica, reconciler)


def some(table: str, share: str, where: str = "deleted_at IS NULL") -> str:
    """The places of some rows, always the same; `share` of those that match, at least one."""
    return (
        f"(tableoid, ctid) IN (SELECT tableoid, ctid FROM {table} AS t WHERE {where} ORDER BY md5({as_folded(table)}) "
        f"LIMIT (SELECT greatest(1, (count(*) * {share})::bigint) FROM {table} WHERE {where}))"
    )


def test_a_first_snapshot_of_what_the_feed_gave_changes_nothing(filled: Audit) -> None:
    live = filled.live()
    assert {name for name, rows in live.items() if not rows} <= {"gasless_keys"}
    found = filled.run(chunk=7)
    assert (found.drift, found.history) == ({}, {})
    assert {name: w.rows for name, w in found.written.items() if w.rows} == {}
    # All were registered in the log; FID 0, of which contracts say something, is no user.
    assert (found.uncovered_fids, found.fids) == (0, len(filled.fids))
    assert filled.live() == live
    assert found.messages > 3_000


def test_one_audit_finds_all_that_was_corrupted_and_heals_it(filled: Audit) -> None:
    filled.run()
    live = filled.live()
    spared = "deleted_at IS NULL AND fid % 5 = 0"
    damage = "deleted_at IS NULL AND fid % 5 <> 0"
    untouched = "deleted_at IS NULL AND text NOT LIKE '%!' AND length(hash) = 20"
    corrupted = {
        "casts": filled.execute(
            f"DELETE FROM casts WHERE {some('casts', '0.01')}",
            f"UPDATE casts SET text = text || '!' WHERE {some('casts', '0.01')}",
            'INSERT INTO casts SELECT (jsonb_populate_record(c, \'{"hash": "\\\\x0102"}\')).* FROM casts AS c '
            f"WHERE {some('casts', '0')}",
            f"UPDATE casts SET deleted_at = NULL WHERE {some('casts', '0.001', 'deleted_at IS NOT NULL')}",
            f"UPDATE casts SET deleted_at = now() WHERE {some('casts', '0.001', untouched)}",
        ),
        "reactions": filled.execute(
            f"DELETE FROM reactions WHERE {some('reactions', '0.01')}",
            f"UPDATE reactions SET timestamp = timestamp - interval '1 s' WHERE {some('reactions', '0.01')}",
            'INSERT INTO reactions SELECT (jsonb_populate_record(r, \'{"target": "\\\\x0102"}\')).* '
            f"FROM reactions AS r WHERE {some('reactions', '0')}",
            f"UPDATE reactions SET deleted_at = NULL WHERE {some('reactions', '0.001', 'deleted_at IS NOT NULL')}",
        ),
        "links": filled.execute(
            f"DELETE FROM links WHERE {some('links', '0.01')}",
            f"UPDATE links SET hash = '\\x00' WHERE {some('links', '0.01')}",
            # A version that no event can have had so far.
            'INSERT INTO links SELECT (jsonb_populate_record(l, \'{"target_fid": 999999, '
            f'"version": 4611686018427387904}}\')).* FROM links AS l WHERE {some("links", "0.001")}',
            f"UPDATE links SET deleted_at = NULL WHERE {some('links', '0.001', 'deleted_at IS NOT NULL')}",
        ),
        "verifications": filled.execute(
            f"DELETE FROM verifications WHERE {some('verifications', '0.01', damage)}",
            f"UPDATE verifications SET chain_id = 7 WHERE {some('verifications', '0.01', damage)}",
        ),
        "user_data": filled.execute(
            f"DELETE FROM user_data WHERE {some('user_data', '0.01', damage)}",
            f"UPDATE user_data SET value = 'changed' WHERE {some('user_data', '0.01', damage)}",
        ),
        "username_proofs": filled.execute(
            f"DELETE FROM username_proofs WHERE {some('username_proofs', '0.01')}",
            "UPDATE username_proofs SET timestamp = timestamp + interval '1 day' "
            f"WHERE {some('username_proofs', '0.01')}",
            'INSERT INTO username_proofs SELECT (jsonb_populate_record(u, \'{"name": "nobodys"}\')).* '
            f"FROM username_proofs AS u WHERE {some('username_proofs', '0')}",
            "UPDATE username_proofs SET deleted_at = NULL "
            f"WHERE {some('username_proofs', '0.001', 'deleted_at IS NOT NULL')}",
        ),
        "on_chain_events": filled.execute(
            f"DELETE FROM on_chain_events WHERE {some('on_chain_events', '0.01', damage)}",
            f"UPDATE on_chain_events SET block_number = 1 WHERE {some('on_chain_events', '0.01', damage)}",
            "INSERT INTO on_chain_events SELECT (jsonb_populate_record(o, '{\"log_index\": 999999}')).* "
            f"FROM on_chain_events AS o WHERE {some('on_chain_events', '0.001', damage)}",
        ),
        "user_profiles": filled.execute(
            f"DELETE FROM user_profiles WHERE {some('user_profiles', '0.1', spared)}",
            f"UPDATE user_profiles SET bio = 'changed' WHERE {some('user_profiles', '0.1', spared)}",
        ),
    }
    assert all(corrupted.values())

    looked = filled.run(write=False)
    assert (dict(looked.drift), dict(looked.history)) == (corrupted, {})
    assert looked.written == {}
    assert filled.live() != live

    before = filled.replica.rows("SELECT count(*) FROM pipeline.drift")[0][0]
    found = filled.run()
    assert (dict(found.drift), dict(found.history)) == (corrupted, {})
    assert filled.live() == live
    kept = filled.replica.rows("SELECT * FROM pipeline.drift ORDER BY id OFFSET :before", before=before)
    assert len(kept) == sum(corrupted.values())
    assert {row.kind for row in kept} == {"missing", "different", "phantom"}
    assert all(row.hub_row for row in kept if row.kind != "phantom")
    assert all(row.table_row for row in kept if row.kind != "missing")
    again = filled.run()
    assert (again.drift, again.history) == ({}, {})
    assert sum(written.rows for written in again.written.values()) == 0


def test_wrong_counts_are_put_right_with_their_users(filled: Audit) -> None:
    filled.run()
    known = "hash IN (SELECT hash FROM casts WHERE deleted_at IS NULL)"
    wrong_casts = filled.execute(
        f"UPDATE cast_counts SET likes = likes + 5 WHERE {known} AND likes > 1",
        f"DELETE FROM cast_counts WHERE {known} AND likes <= 1 AND replies > 0",
    )
    wrong_users = filled.execute(
        "UPDATE user_counts SET followers = followers - 1, casts = 0 WHERE fid % 3 = 0",
        "DELETE FROM user_counts WHERE fid % 3 = 1",
    )
    assert wrong_casts > 10
    assert wrong_users > 10
    found = filled.run()
    assert (found.drift, found.history) == ({}, {})
    assert (found.written["cast_counts"].updated, found.written["user_counts"].updated) == (wrong_casts, wrong_users)
    for table in COUNT_TABLES:
        assert filled.replica.rows(wrong(table)) == []


def test_rows_that_a_snapshot_corrects_are_counted_once(filled: Audit) -> None:
    filled.run()
    filled.execute(
        f"DELETE FROM reactions WHERE {some('reactions', '0.1')}",
        f"UPDATE links SET deleted_at = now() WHERE {some('links', '0.1')}",
        f"DELETE FROM casts WHERE {some('casts', '0.1')}",
        "UPDATE user_counts SET followers = followers + 1 WHERE fid % 7 = 0",
    )
    filled.run()
    for table in COUNT_TABLES:
        assert filled.replica.rows(wrong(table)) == []


def test_a_user_whose_registration_was_lost_is_compared_by_what_the_hub_says_of_it(filled: Audit) -> None:
    filled.run()
    live = filled.live()
    # What was folded before would let them be compared, too.
    filled.execute("DELETE FROM pipeline.snapshots")
    registered = (
        "SELECT fid FROM on_chain_events WHERE type = 'id_register' AND body->>'eventType' = 'Register' "
        "AND fid IN (SELECT fid FROM casts WHERE deleted_at IS NULL)"
    )
    # A contract's event comes to a hub two seconds later, or more: as if the replica had begun after the first users.
    began = f"(to_timestamp({HOUR_UNIX}) + interval '3 seconds')"
    filled.execute(f"UPDATE pipeline.shards SET origin_at = {began}")
    since = f"{began} - interval '2 seconds'"
    (late,) = filled.replica.rows(f"{registered} AND block_timestamp >= {since} ORDER BY fid LIMIT 1")
    (early,) = filled.replica.rows(f"{registered} AND block_timestamp < {since} ORDER BY fid LIMIT 1")
    lost = {
        fid: {
            table: filled.execute(f"DELETE FROM {table} WHERE fid = {fid} AND deleted_at IS NULL AND {which}")
            for table, which in (("on_chain_events", "type IN ('id_register', 'signer')"), ("casts", "true"))
        }
        for fid in (late.fid, early.fid)
    }
    assert all(rows for of_user in lost.values() for rows in of_user.values())
    looked = filled.run([late.fid], write=False)
    assert (dict(looked.drift), dict(looked.history), looked.uncovered_fids) == (lost[late.fid], {}, 0)
    # This one may have done something before the replica began.
    looked = filled.run([early.fid], write=False)
    assert (dict(looked.drift), dict(looked.history), looked.uncovered_fids) == ({}, lost[early.fid], 1)
    found = filled.run([late.fid, early.fid])
    assert (dict(found.drift), dict(found.history)) == (lost[late.fid], lost[early.fid])
    assert filled.live() == live
    again = filled.run([late.fid, early.fid])
    assert (again.drift, again.history) == ({}, {})


@dataclass(frozen=True)
class Small:
    """A hub of one user, and a replica of it."""

    replica: FoldedDatabase
    session: FoldSession
    reconciler: Reconciler
    hub: SmallHub

    def happen(self, *operations: Json, fold: bool = True) -> int:
        """One block; the user is registered in the first."""
        height = self.hub.add_block(1, list(operations))
        if fold:
            self.fold(height)
        return height

    def fold(self, height: int) -> None:
        self.session.fold(micro_batch(self.hub.blocks(1), height, height))

    def audit(self, reading: Reading | None = None, *, extra: tuple[Line, ...] = ()) -> Reconciled:
        """Fold what was read, or what can be read now; `extra` are records that the hub has besides."""
        read = reading or Reading(self.hub, 1, 1000).finish()
        return self.reconciler.fold([read.snapshot], [record_batch(read.snapshot, [*read.lines, *extra])])


@pytest.fixture
def small(replica: FoldedDatabase, writer: FoldSession) -> Iterator[Small]:
    with Reconciler(replica.url, "audit") as reconciler:
        made = Small(replica, writer, reconciler, SmallHub({1: (1,)}))
        made.happen(cast_add(1))
        yield made


def test_a_record_that_cannot_be_stored_is_quarantined_once_and_no_row_of_it_is_a_phantom(small: Small) -> None:
    known = cast_add(1, "stored by a release that knew its type")
    small.happen(known)
    listed = small.hub.answers(1)["casts"]
    unknown = {**known, "data": {**known["data"], "castAddBody": {**known["data"]["castAddBody"], "type": "NEW"}}}
    reading = Reading(small.hub, 1, 1000).finish()
    reading.lines = [(kind, record) for kind, record in reading.lines if kind != "casts"]
    record = json.dumps(unknown).encode()
    assert [m["hash"] for m in listed] == [known["hash"]]
    for audited in (small.audit(reading, extra=(("casts", record),)), small.audit(reading, extra=(("casts", record),))):
        assert (audited.drift, audited.history, audited.quarantined) == ({}, {}, 1)
    assert len(small.replica.rows("SELECT * FROM casts WHERE deleted_at IS NULL")) == 1
    (kept,) = small.replica.rows("SELECT * FROM pipeline.quarantine")
    assert (kept.reason, kept.raw, kept.event_id) == ("unknown_type", record, reading.snapshot.version)


def test_a_nul_is_taken_out_of_a_snapshots_text_as_of_an_events(small: Small) -> None:
    small.happen(cast_add(1, "a\x00b"))
    assert small.audit().drift == {}
    with small.replica.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM casts"))
    assert dict(small.audit().drift) == {"casts": 1}
    assert small.replica.live("casts", "text, fid") == [("ab", 1)]
    assert {reason for _, reason in small.replica.quarantined()} == {"nul_removed"}
    assert small.replica.rows("SELECT FROM pipeline.quarantine WHERE resolved_at IS NULL") == []


def test_a_remove_that_the_feed_never_brought_becomes_a_tombstone_that_no_late_add_revives(small: Small) -> None:
    gone = cast_add(1, "gone")
    late = small.happen(gone, fold=False)
    small.happen(cast_remove(1, gone["hash"]), fold=False)
    found = small.audit()
    assert (found.drift, dict(found.history)) == ({}, {"casts": 1})
    small.fold(late)
    assert small.replica.live("casts", "text, fid") == []


def test_a_link_that_a_later_compact_state_masks_stays_masked_and_an_earlier_one_masks_it_no_more(small: Small) -> None:
    small.happen(link(1, 2, NOW), link(1, 3, NOW), fold=False)
    early = small.happen(compact_state(1, [3], NOW), fold=False)
    back = small.happen(link(1, 2, NOW + 5), fold=False)
    reading = Reading(small.hub, 1, 1000).finish()
    small.happen(compact_state(1, [2], NOW + 9))
    small.audit(reading)
    assert small.replica.live("links", "target_fid, fid") == [(2, 1)]
    small.fold(early)
    small.fold(back)
    assert small.replica.live("links", "target_fid, fid") == [(2, 1)]


def test_what_happens_while_a_snapshot_is_read_is_waited_for_as_long_as_somebody_follows(small: Small) -> None:
    liked = reaction(1, "https://a.example", timestamp=NOW)
    reading = Reading(small.hub, 1, 1000)
    height = small.happen(liked, fold=False)
    reading.finish()
    with small.replica.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO pipeline.leases (shard, partition, holder, backend_pid) VALUES (1, :hour, 'run/1', :pid)"
            ),
            {"hour": HOUR, "pid": small.session.backend_pid},
        )
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            small.fold(height)

    small.reconciler.sleep = sleep
    found = small.audit(reading)
    assert (found.drift, found.history, found.uncovered_fids) == ({}, {}, 0)
    assert len(slept) == 3
    # Where the ledger does not move, it is not waited for without end, and nothing is compared.
    small.happen(reaction(1, "https://b.example", timestamp=NOW), fold=False)
    small.reconciler.clock = lambda: LEDGER_WAIT_SECONDS * len(slept)
    found = small.audit()
    assert (found.drift, dict(found.history), found.uncovered_fids) == ({}, {"reactions": 1}, 1)


def test_what_a_poison_page_kept_back_is_history_until_the_next_snapshot(small: Small) -> None:
    height = small.happen(cast_add(1, "lost"), fold=False)
    confirmed = small.hub.blocks(1)[height][0]
    small.session.fold(micro_batch({height: [confirmed]}))
    with small.replica.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO pipeline.gaps (shard, from_height, to_height, reason) VALUES (1, :h, :h, 'poison_page')"
            ),
            {"h": height},
        )
    found = small.audit()
    assert (found.drift, dict(found.history), found.uncovered_fids) == ({}, {"casts": 1}, 1)
    assert len(small.replica.live("casts", "text, fid")) == 1


def test_what_contracts_say_of_nobody_may_come_on_any_shard(replica: FoldedDatabase, writer: FoldSession) -> None:
    hub = SmallHub({1: (0,), 2: (2,)})
    migrated = {**chain_event("signer", 0), "type": "EVENT_TYPE_SIGNER_MIGRATED", "signerMigratedEventBody": {}}
    hub.record_origins(replica.engine)
    with Reconciler(replica.url, "audit") as reconciler:
        audit = Audit(hub, replica, reconciler)
        # Shard 1 is far ahead, so its ids are above all of shard 2.
        for shard in (1, 1, 1, 1, 2):
            height = hub.add_block(shard, [])
            writer.fold(micro_batch(hub.blocks(shard), height, height, shard))
        audit.run([0])
        late = Reading(hub, 0, 1000).finish()
        height = hub.add_block(2, [migrated])
        writer.fold(micro_batch(hub.blocks(2), height, height, 2))
        head_ids = late.ids_before
        found = reconciler.fold([late.snapshot], [late.records], ids_before=head_ids, ids_after=head_ids)
        assert (found.drift, found.history) == ({}, {})
        assert len(replica.live("on_chain_events", "type, fid")) == 1
        found = audit.run([0])
        assert (found.drift, found.history, found.uncovered_fids) == ({}, {}, 0)


def test_an_older_snapshot_than_the_one_that_was_folded_is_left_out(small: Small) -> None:
    old = Reading(small.hub, 1, 1000).finish()
    small.happen(cast_add(1, "later"), fold=False)
    new = Reading(small.hub, 1, 1000).finish()
    for reading in (old, new):
        t = reading.snapshot
        line = SnapshotLine(1, 1, 1, t.version, t.until_id, "file", 1, 1, t.fetched_at)
        with small.replica.engine.begin() as connection:
            record(connection, [line], "audit")
    assert small.audit(new).outdated_fids == 0
    found = small.audit(old)
    assert (found.outdated_fids, found.drift, found.history) == (1, {}, {})
    assert len(small.replica.live("casts", "text, fid")) == 1
    (kept,) = small.replica.rows("SELECT * FROM pipeline.snapshots")
    assert (kept.folded_version, kept.folded_until_id) == (new.snapshot.version, new.snapshot.until_id)
