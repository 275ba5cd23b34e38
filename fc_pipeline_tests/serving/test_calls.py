"""What holds for every call: its example is answered, bad input is refused, no table of messages is read through."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.serving.objects import ServedObject, served_objects
from fc_pipeline_tests.serving.plain_model import PlainModel
from fc_pipeline_tests.serving.wide_network import CALLS, fill
from fc_pipeline_tests.support.postgres import INDEXES_IF_ANY, Database, fresh_database, table_of

OURS = [one for one in served_objects() if one.schema == "api"]
EXAMPLES = [one for one in OURS if one.example]
PLUMBING = "forms"
WATCHED = ("casts", "reactions", "links", "cast_threads", "cast_counts", "cast_mentions", "embeds", "user_profiles")


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: one.name)
def test_the_example_is_answered(generated: PlainModel, one: ServedObject) -> None:
    last = generated.last_reaction().isoformat()
    with generated.database.engine.connect() as connection:
        example = one.example.replace("now()", f"'{last}'").replace("%", "%%")
        rows = connection.exec_driver_sql(example).all()
    assert rows or "'0x" in example, example


def test_every_call_of_a_reader_has_an_example_and_needs_no_more_rights_than_hers(generated: PlainModel) -> None:
    assert [one.name for one in OURS if not one.example and one.group != PLUMBING] == []
    query = (
        "SELECT proname FROM pg_proc WHERE pronamespace = 'api'::regnamespace "
        "AND (prosecdef OR provolatile = 'v' OR proconfig IS NOT NULL)"
    )
    assert generated.database.rows(query) == []


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("cast_by_hash('0xabc')", "hex digits"),
        ("cast_by_hash('hello')", "hex digits"),
        ("casts_by_hash(ARRAY['0x12', ''])", "hex digits"),
        ("casts_by_hash(array_fill('0x12'::text, ARRAY[101]))", "100 at most"),
        ("users(array_fill(1::bigint, ARRAY[101]))", "100 at most"),
        ("user_casts(3, page_size => 0)", "1 to 100"),
        ("user_casts(3, cursor => '12')", "next_cursor"),
        ("user_casts(3, cursor => '12.zz')", "next_cursor"),
        ("followers(3, cursor => '12.ab')", "next_cursor"),
        ("notifications(3, cursor => '12.34')", "next_cursor"),
        ("notifications(3, ARRAY['poke'])", "mention, reply"),
        ("liked_casts(3, reaction => 'love')", "like or recast"),
        ("search_casts(' ')", "at least one word"),
        ("changes_since('nothing', 0)", "docs/tables.md"),
    ],
)
def test_bad_input_is_refused_with_a_hint(generated: PlainModel, call: str, hint: str) -> None:
    with generated.database.engine.connect() as connection, pytest.raises(DBAPIError) as refused:
        connection.exec_driver_sql(f"SELECT * FROM api.{call}")
    assert isinstance(refused.value.orig, psycopg2.Error)
    assert hint in str(refused.value.orig.diag.message_hint)


@pytest.fixture(scope="module")
def wide(postgres: EmbeddedPostgres) -> Iterator[Database]:
    with fresh_database(postgres) as database:
        fill(database.engine)
        yield database


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
def test_no_call_reads_a_table_of_messages_through(wide: Database, plans: str) -> None:
    """Whatever it executes within, of functions too, counts in the server's own statistics."""
    read = "SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE seq_scan > 0"
    with wide.engine.connect() as connection:
        connection.exec_driver_sql(f"SET plan_cache_mode = {plans}; {INDEXES_IF_ANY}")
        for call in CALLS:
            before = _by_table(connection.exec_driver_sql(read))
            rows = connection.exec_driver_sql(f"SELECT * FROM api.{call}").all()
            after = _by_table(connection.exec_driver_sql(read))
            assert {name for name in WATCHED if after[name] > before[name]} == set(), call
            assert rows, call


def _by_table(scans: Iterable[Any]) -> Counter[str]:
    """How often each table was read through, of a partitioned one all partitions together."""
    found = Counter[str]()
    for relation, times in scans:
        found[table_of(relation)] += times
    return found


def test_every_call_is_among_those_whose_plans_are_looked_at() -> None:
    looked_at = {match[0] for call in CALLS if (match := re.match(r"\w+", call))}
    left_out = {"change_horizon", "changes_since", "hash_text", "hash_bytes", "blocks", "cast_text"}
    assert {one.name.split(".")[1] for one in OURS if one.group != PLUMBING} - left_out == looked_at
