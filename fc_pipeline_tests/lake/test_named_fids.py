"""Whom the raw log's events name: never one too few."""

import re

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fc_pipeline.fold.micro_batch import prepare
from fc_pipeline.hub.decode import batch_from_raws
from fc_pipeline.lake.named_fids import NAMED_BELOW, named_fids, naming_pattern
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import HOUR_UNIX

JSON_LIKE = st.lists(
    st.sampled_from(
        [*b'0123456789:,[]{} \n\t"-.a', 0x0B, 0x0C, 0xFF, *(f"{n}".encode() for n in (7, 42, NAMED_BELOW - 1))]
    ).map(lambda one: one if isinstance(one, bytes) else bytes([one])),
    max_size=40,
).map(b"".join)


def fids_in(*events: bytes) -> set[int]:
    return set(named_fids(pa.chunked_array([pa.array(events, pa.binary())])).tolist())


@settings(max_examples=300, deadline=None)
@given(st.lists(JSON_LIKE, max_size=4))
@example([b'{"fid":1}', b",2]"])
@example([b"[12", b"34]"])
@example([b"[ 3 , 4 ]", b""])
def test_whatever_a_search_for_a_fid_finds_is_named(events: list[bytes]) -> None:
    named = fids_in(*events)
    array = pa.array(events, pa.binary())
    for fid in {int(number) for one in events for number in re.findall(rb"\d+", one)}:
        pattern = naming_pattern([fid])
        assert pattern is not None
        if fid < NAMED_BELOW and pc.any(pc.match_substring_regex(array, pattern)).as_py():
            assert fid in named


def test_a_chunk_that_begins_within_its_buffer_is_read_from_there() -> None:
    events = pa.array([b'{"fid":1}', b'{"fid":22}', b'{"fid":333}'], pa.binary())
    assert named_fids(pa.chunked_array([events[1:2]])).tolist() == [22]
    assert named_fids(pa.chunked_array([events[2:], events[:1]])).tolist() == [1, 333]
    assert named_fids(pa.chunked_array([], pa.binary())).tolist() == []


def test_larger_numbers_than_fids_are_left_out() -> None:
    assert fids_in(b'{"fid":%d,"id":671747686401,"at":[%d]}' % (NAMED_BELOW - 1, NAMED_BELOW)) == {NAMED_BELOW - 1}


def test_whom_rows_of_any_table_concern_is_named() -> None:
    log = log_from_lines(generate(5, fids=200, events=6_000, gasless_keys=True))
    for number, shard in log.shards.items():
        raws = list(shard.raws)
        ids = [msgspec.json.decode(raw)["id"] for raw in raws]
        batch = batch_from_raws(number, min(ids) >> 14, max(ids) >> 14, raws, {})
        micro = prepare(batch, partition="hour", hour_unix=HOUR_UNIX, tables=tuple(DATA_TABLES), shard_count=2)
        concerned: set[int] = set()
        for name, rows in micro.rows.items():
            for column in DATA_TABLES[name].concerns if name in DATA_TABLES else ():
                values = rows[column]
                if pa.types.is_list(values.type):
                    values = pa.chunked_array([chunk.flatten() for chunk in values.chunks], values.type.value_type)
                concerned |= {int(fid) for fid in values.to_pylist() if fid}
        assert len(concerned) > 100
        assert {fid for fid in concerned if fid < NAMED_BELOW} <= fids_in(*raws)
