"""What a micro-batch is made of: the winning row per key, counts of events, and SQL that holds no data."""

import re
from dataclasses import fields

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fc_pipeline.fold import merging, quarantine
from fc_pipeline.fold.micro_batch import MicroBatch, joined, last_per_key, prepare
from fc_pipeline.fold.quarantine import Quarantined
from fc_pipeline.store import derived, ledger
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import DataTable, Row
from fc_pipeline.tables.registry import DATA_TABLES, DERIVED_TABLES, MESSAGE_TABLES
from fc_pipeline.tables.user_data import USER_DATA
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR,
    HOUR_UNIX,
    NOW,
    Event,
    blocks_of,
    cast_add,
    chain_event,
    compact_state,
    event_batch,
    link,
    merge,
    merge_chain,
    merge_proof,
    message,
    micro_batch,
    proof,
    user_data,
    verification,
)


def sparse(table: DataTable, **values: object) -> Row:
    """A row with the named columns; the others are null."""
    return tuple(values.get(name) for name in table.names)


def proof_rows(rows: list[tuple[str, int, bytes, int]]) -> pa.Table:
    """Rows of username_proofs by name, time, precedence and version."""
    return USERNAME_PROOFS.arrow(
        sparse(USERNAME_PROOFS, name=name, type="fname", timestamp=time, precedence=precedence, version=version)
        for name, time, precedence, version in rows
    )


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.sampled_from((b"1", b"2")), st.integers(0, 3))))
def test_the_last_per_key_goes_by_the_tables_order(rows: list[tuple[str, int, bytes, int]]) -> None:
    expected: dict[str, tuple[int, bytes, int]] = {}
    for name, *order in rows:
        expected[name] = max(expected.get(name, (-1, b"", -1)), (order[0], order[1], order[2]))
    found = last_per_key(proof_rows(rows), USERNAME_PROOFS).to_pylist()
    assert len(found) == len(expected)
    times = proof_rows(rows).schema.field("timestamp").type
    assert {r["name"]: (r["timestamp"], r["precedence"], r["version"]) for r in found} == {
        name: (pa.scalar(order[0], times).as_py(), order[1], order[2]) for name, order in expected.items()
    }


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(("bio", "pfp")), st.text(max_size=3)), max_size=30))
def test_rows_by_version_take_the_last_of_each_key(rows: list[tuple[int, str, str]]) -> None:
    table = USER_DATA.arrow(
        sparse(USER_DATA, fid=fid, type=kind, value=value, version=n // 2) for n, (fid, kind, value) in enumerate(rows)
    )
    found = {(r["fid"], r["type"]): r["value"] for r in last_per_key(table, USER_DATA).to_pylist()}
    assert found == {(fid, kind): value for fid, kind, value in rows}


def test_a_micro_batch_says_what_is_in_it() -> None:
    blocks = blocks_of(
        [merge(cast_add(1)), merge(user_data(2, "BIO", "a")), merge(user_data(2, "BIO", "b", NOW + 1))],
        [merge(verification(3, "0xab")), merge_chain(chain_event("id_register", 4)), merge(compact_state(1, [2]))],
        [merge_proof(proof("a", 9, HOUR_UNIX)), merge(link(1, 2)), merge(message("FRAME_ACTION", 1, NOW, {}))],
    )
    batch = micro_batch(blocks)
    assert (batch.shard, batch.from_height, batch.to_height) == (1, FIRST_HEIGHT, FIRST_HEIGHT + 2)
    assert (batch.partition, batch.tables) == (HOUR, frozenset(DATA_TABLES))
    assert (batch.events, batch.confirmed_events, batch.messages) == (12, 12, 8)
    assert batch.size_bytes == sum(len(raw) for height in blocks for raw in blocks[height])
    assert batch.last_block_unix == HOUR_UNIX + 2
    counts = {name: len(rows) for name, rows in batch.rows.items()}
    assert counts == {
        "casts": 1,
        "links": 1,
        "on_chain_events": 1,
        "user_data": 1,
        "username_proofs": 1,
        "verifications": 1,
    }
    assert len(batch.compactions) == 1
    assert batch.sources == {}


@pytest.mark.parametrize("wanted", [("casts",), ("links",), ("user_profiles",), ("fid_activity",), ()])
def test_only_the_wanted_tables_are_in_it(wanted: tuple[str, ...]) -> None:
    blocks = blocks_of(
        [merge(cast_add(1)), merge(link(1, 2)), merge(compact_state(1, [2])), merge(user_data(1, "BIO", "x"))]
    )
    batch = micro_batch(blocks, tables=wanted)
    assert set(batch.rows) == set(wanted) & set(MESSAGE_TABLES)
    assert bool(len(batch.compactions)) == ("links" in wanted)
    assert set(batch.sources) == ({"user_data"} if "user_profiles" in wanted else set())
    assert (batch.activity is not None) == ("fid_activity" in wanted)


def test_totals_of_unconfirmed_blocks_are_what_was_read() -> None:
    blocks = dict(blocks_of([merge(cast_add(1))], [merge(cast_add(2)), merge(cast_add(3))]))
    blocks[FIRST_HEIGHT + 1] = blocks[FIRST_HEIGHT + 1][1:]
    batch = event_batch(blocks)
    batch.block_times[FIRST_HEIGHT + 1] = HOUR_UNIX + 1
    made = prepare(batch, partition=HOUR, hour_unix=HOUR_UNIX, tables=DATA_TABLES, shard_count=None)
    assert made.confirmed_events == 2 + 2


def test_statements_hold_names_and_parameters_only() -> None:
    words = [
        *(merging.merge(table) for table in MESSAGE_TABLES.values()),
        *(merging.create_staging(table) for table in DATA_TABLES.values()),
        merging.add_activity(),
        merging.replace_activity(),
        merging.MASK_STAGED_LINKS,
        merging.MASK_BY_NEW_COMPACTIONS,
        quarantine.MERGE,
        ledger.COVER,
    ]
    deriving = [derived.derive(one) for one in DERIVED_TABLES]
    for statement in (*words, *deriving):
        assert not re.search(r"{(?!\d+(,\d+)?})", statement)  # of regular expressions alone
        assert ";" not in statement
    known = {"", ",", "compacted", "1 microsecond"}
    literals = {text for statement in words for text in re.findall(r"'([^']*)'", statement)}
    columns = {value for value in literals - known if not re.fullmatch(r"[A-Za-z_]+", value)}
    assert columns == set()


def test_one_statement_per_table_does_the_merge() -> None:
    merged = merging.merge(CASTS)
    assert merged.count("INSERT INTO") == 1
    assert "ON CONFLICT (hash, fid) DO UPDATE" in merged
    assert "(excluded.version) > (t.version)" in merged
    assert "embeds::jsonb" in merged
    proofs = merging.merge(USERNAME_PROOFS)
    assert (
        "(excluded.timestamp, excluded.precedence, excluded.version) > (t.timestamp, t.precedence, t.version)" in proofs
    )


def test_quarantine_keeps_raw_bytes_and_a_readable_detail() -> None:
    staged = quarantine.staged(1, [Quarantined(5, "invalid", "a\x00b\ud800" + "x" * 900, b"\x00\xff")]).to_pylist()
    assert staged[0]["raw"] == b"\x00\xff"
    assert staged[0]["detail"].startswith("a\\0b\\ud800x")
    assert len(staged[0]["detail"]) <= 510
    assert quarantine.staged(1, []).num_rows == 0


fid = st.integers(1, 3)
merged = st.one_of(
    st.builds(
        lambda f, kind, value: merge(user_data(f, kind, value)), fid, st.sampled_from(("BIO", "URL")), st.text("ab")
    ),
    st.builds(lambda f, target, add: merge(link(f, target, add=add)), fid, fid, st.booleans()),
    st.builds(lambda f, targets: merge(compact_state(f, targets)), fid, st.lists(fid, max_size=2)),
    st.builds(lambda f: merge(cast_add(f, parentCastId={"fid": f, "hash": "0x" + "ab" * 20})), fid),
    st.builds(lambda f: merge({**cast_add(f), "hash": "0xab"}), fid),
    st.builds(lambda f, time: merge_proof(proof("a", f, HOUR_UNIX + time)), fid, st.integers(0, 2)),
)


def plainly(batch: MicroBatch) -> dict[str, object]:
    """Everything in a micro-batch, without the order of rows."""

    def rows(table: pa.Table | None) -> list[str]:
        return sorted(map(repr, table.to_pylist())) if table is not None else []

    tables = {name: rows(table) for name, table in batch.rows.items()}
    arrow = {name: rows(getattr(batch, name)) for name in ("compactions", "leaves", "activity")}
    plain = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "rows" and f.name not in arrow}
    return {**tables, **arrow, **plain, "touched_fids": batch.touched_fids.tolist()}


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.lists(merged, max_size=4), min_size=2, max_size=5), st.data())
def test_parts_joined_are_the_micro_batch_of_the_whole(content: list[list[Event]], data: st.DataObject) -> None:
    blocks = blocks_of(*content)
    heights = sorted(blocks)
    cuts = sorted(data.draw(st.sets(st.sampled_from(heights[1:]))))
    starts, ends = [heights[0], *cuts], [*(cut - 1 for cut in cuts), heights[-1]]
    parts = [micro_batch(blocks, first, last) for first, last in zip(starts, ends, strict=True)]
    assert plainly(joined(parts)) == plainly(micro_batch(blocks))
