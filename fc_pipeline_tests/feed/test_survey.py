from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fc_pipeline.errors import HubUntrusted
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of, unconfirmed_casts_at
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import OUTPUTS, missing_span, workbench

HOUR = Hour(HOUR_UNIX)
MONTH = 30 * 86_400


def hours_from(unix: int, count: int) -> list[Hour]:
    found = [Hour.of(unix)]
    while len(found) < count:
        found.append(found[-1].next)
    return found


def minutes(first_height: int, unix: int, count: int) -> list[tuple[int, int]]:
    """A block every ten minutes, six to the hour."""
    return [(first_height + n, unix + 600 * n) for n in range(count)]


def test_the_first_contact_records_where_the_feed_begins(database: Database, lake: Path) -> None:
    log = log_of(casts_at(every_second(500, HOUR_UNIX + 7, 20)), casts_at(every_second(90, HOUR_UNIX + 9, 15), 2))
    with serving(log) as url, workbench(database, lake, url) as bench:
        one, two = bench.survey().shards
        assert (one.origin_height, one.oldest_height, one.head_height, one.head_unix) == (500, 500, 519, HOUR_UNIX + 26)
        assert (one.holes, one.lost) == ((HeightRange(500, 519),), ())
        assert (two.holes, two.lost) == ((HeightRange(90, 104),), ())
        rows = bench.rows("SELECT shard, origin_height, origin_at, shard_count FROM pipeline.shards ORDER BY shard")
        assert [(r.shard, r.origin_height, r.origin_at.timestamp(), r.shard_count) for r in rows] == [
            (1, 500, HOUR_UNIX + 7, 2),
            (2, 90, HOUR_UNIX + 9, 2),
        ]


def test_start_leaves_out_what_is_older_and_may_be_set_earlier_but_not_later(database: Database, lake: Path) -> None:
    log = log_of(casts_at(minutes(100, HOUR_UNIX, 24)))
    start = HOUR.next.next.start
    with serving(log) as url:
        with workbench(database, lake, url, start=start) as bench:
            assert bench.survey().shards[0].holes == (HeightRange(112, 123),)
            bench.run()
            assert bench.survey().shards[0].holes == ()
        with workbench(database, lake, url, start=start + timedelta(hours=1)) as bench:
            assert bench.survey().shards[0].origin_height == 112
        with workbench(database, lake, url) as bench:
            assert bench.survey().shards[0].origin_height == 112
        with workbench(database, lake, url, start=start - timedelta(hours=1)) as bench:
            assert bench.survey().shards[0].holes == (HeightRange(106, 111),)
            assert bench.missing_hours() == [HOUR.next]
            bench.run()
            assert bench.ledger() == [(1, 106, 123)]
        with workbench(database, lake, url, start=datetime(2021, 1, 1, tzinfo=UTC)) as bench:
            assert bench.survey().shards[0].holes == (HeightRange(100, 105),)


def test_what_the_hub_has_forgotten_is_lost_and_the_rest_can_be_had(database: Database, lake: Path) -> None:
    log = log_of(casts_at(minutes(100, HOUR_UNIX, 18)))
    faults = Faults()
    with serving(log, faults=faults) as url, workbench(database, lake, url) as bench:
        bench.survey()
        bench.run(window=HourWindow(HOUR.next.next, HOUR.next.next))
        assert bench.ledger() == [(1, 112, 117)]
        faults.pruned_before_height[1] = 108
        shard = bench.survey().shards[0]
        assert (shard.origin_height, shard.oldest_height) == (100, 108)
        assert shard.holes == (HeightRange(108, 111),)
        assert shard.lost == (HeightRange(100, 107),)
        assert bench.missing_hours() == [HOUR.next]
        bench.run()
        assert bench.ledger() == [(1, 108, 117)]  # what is lost stays a hole
        assert bench.survey().shards[0].lost == (HeightRange(100, 107),)
        assert bench.missing_hours() == []


def test_missing_hours_come_newest_first_and_no_more_than_asked_for(database: Database, lake: Path) -> None:
    log = log_of(casts_at(minutes(100, HOUR_UNIX, 30)), casts_at(minutes(40, HOUR_UNIX - 7200, 14), 2))
    with serving(log) as url, workbench(database, lake, url) as bench:
        expected = hours_from(HOUR_UNIX - 7200, 7)[::-1]
        assert bench.missing_hours() == expected
        assert bench.missing_hours(3) == expected[:3]
        assert bench.missing_span() == HourWindow(expected[-1], expected[0])
        middle = HourWindow(expected[2], expected[2])
        bench.run(window=middle)
        assert bench.missing_hours() == [*expected[:2], *expected[3:]]
        bench.run()
        assert bench.missing_hours() == []
        assert bench.ask(lambda state: missing_span(state)) is None


def test_months_between_two_blocks(database: Database, lake: Path) -> None:
    places = [
        (100, HOUR_UNIX),
        (101, HOUR_UNIX + 2 * MONTH),
        (102, HOUR_UNIX + 2 * MONTH),
        (103, HOUR_UNIX + 9 * MONTH),
    ]
    with serving(log_of(casts_at(places))) as url, workbench(database, lake, url) as bench:
        hours = [Hour.of(HOUR_UNIX + months * MONTH) for months in (9, 2, 0)]
        assert bench.missing_hours() == hours
        for hour in hours:
            bench.run(window=HourWindow(hour, hour))
        assert bench.ledger() == [(1, 100, 103)]
        assert bench.replica.log.hours() == hours[::-1]


def test_a_shard_without_events_is_left_out_until_it_has_some(database: Database, lake: Path) -> None:
    log = log_of(casts_at(every_second(500, HOUR_UNIX, 5)))
    log.shard(2)
    with serving(log) as url, workbench(database, lake, url) as bench:
        assert [shard.shard for shard in bench.survey().shards] == [1]
        bench.run()
        assert bench.ledger() == [(1, 500, 504)]
    late = log_of(casts_at(every_second(500, HOUR_UNIX, 5)), casts_at(every_second(7, HOUR_UNIX, 5), 2))
    with serving(late) as url, workbench(database, lake, url) as bench:
        bench.run()
        assert bench.ledger() == [(1, 500, 504), (2, 7, 11)]


def test_a_hub_with_another_number_of_shards_is_not_followed(database: Database, lake: Path) -> None:
    log = log_of(casts_at(every_second(500, HOUR_UNIX, 5)), casts_at(every_second(7, HOUR_UNIX, 5), 2))
    faults = Faults()
    with serving(log, faults=faults) as url, workbench(database, lake, url) as bench:
        bench.run()
        before = bench.dump()
        faults.hidden_shards.add(2)
        with pytest.raises(HubUntrusted, match=r"has 1 data shards, but the replica was begun with 2.*FC_HUB_URLS"):
            bench.survey()
        with pytest.raises(HubUntrusted, match="begun with 2"):
            bench.run(window=HourWindow(HOUR, HOUR))
        assert bench.dump() == before


def test_hours_are_unfinished_until_they_are_in_all_the_tables_asked_for(database: Database, lake: Path) -> None:
    with serving(log_of(casts_at(minutes(100, HOUR_UNIX, 12)))) as url, workbench(database, lake, url) as bench:
        bench.run("some", outputs=["hub_events", "casts"])
        assert bench.survey().shards[0].holes == ()
        assert bench.survey(["hub_events", "casts"]).unfinished == ()
        assert bench.survey(["casts", "links"]).unfinished == (HOUR, HOUR.next)
        assert bench.missing_hours() == [HOUR.next, HOUR]
        bench.run("rest")
        assert bench.survey().unfinished == ()


def test_a_dropped_table_is_work_to_do_and_comes_back_from_the_log(
    database: Database, lake: Path, lines: list[bytes]
) -> None:
    """Also when the hub no longer has the hours, and for the compact states that links need."""
    with serving(log_from_lines(lines)) as url:
        with workbench(database, lake, url) as bench:
            hours = [hour.hour for hour in bench.run().hours]
            before = bench.dump()
            with bench.replica.engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE casts, fid_activity, pipeline.link_compactions CASCADE")
        with workbench(database, lake, url) as bench:
            assert set(bench.survey().unfinished) >= set(hours)
            assert bench.survey(["reactions", "user_data"]).unfinished == ()
            bench.run()
            assert bench.survey().unfinished == ()
            assert bench.dump() == before


def test_a_hub_with_another_history_is_refused_and_changes_nothing(database: Database, lake: Path) -> None:
    places = every_second(500, HOUR_UNIX, 20)
    with serving(log_of(casts_at(places))) as url, workbench(database, lake, url) as bench:
        bench.run()
        before = bench.dump()
    longer = casts_at(every_second(500, HOUR_UNIX, 40))
    with serving(log_of(longer)) as url, workbench(database, lake, url) as bench:
        assert bench.survey().shards[0].holes == (HeightRange(520, 539),)
    other = with_other_hashes(longer)
    assert other != longer
    with serving(log_of(other)) as url, workbench(database, lake, url) as bench:
        with pytest.raises(HubUntrusted, match="another history: block 519 of shard 1 is 0xee"):
            bench.run(window=HourWindow(HOUR, HOUR))
        assert bench.dump() == before


def with_other_hashes(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"blockHash":"0x', b'"blockHash":"0xee') for line in lines]


@pytest.mark.usefixtures("no_pauses")
def test_of_several_hubs_those_that_do_not_go_on_are_left_and_the_others_go_on(database: Database, lake: Path) -> None:
    with serving(log_of(casts_at(every_second(500, HOUR_UNIX, 40)))) as url, workbench(database, lake, url) as bench:
        bench.run()
    longer = casts_at(every_second(500, HOUR_UNIX, 60))
    with (
        serving(log_of(with_other_hashes(longer))) as other_history,
        serving(log_of(casts_at(every_second(500, HOUR_UNIX, 10)))) as set_back,
        serving(log_of(longer), num_shards=2) as other_shards,
        serving(log_of(longer)) as sound,
    ):
        bad = (other_history, set_back, other_shards)
        with workbench(database, lake, *bad) as bench:
            before = bench.dump()
            with pytest.raises(HubUntrusted) as refused:
                bench.run(window=HourWindow(HOUR, HOUR))
            for words in ("another history: block 539", "is at height 509", "begun with 1"):
                assert words in str(refused.value)
            assert bench.dump() == before
        with workbench(database, lake, *bad, sound) as bench:
            bench.run(window=HourWindow(HOUR, HOUR))
            assert bench.ledger() == [(1, 500, 559)]
            assert len(bench.rows("SELECT hash FROM casts")) == 60


@pytest.mark.parametrize("kept", [0, 5])
def test_a_hub_whose_events_are_gone_up_to_its_head_is_refused(database: Database, lake: Path, kept: int) -> None:
    places = every_second(500, HOUR_UNIX, 40)
    with serving(log_of(casts_at(places))) as url, workbench(database, lake, url) as bench:
        bench.run()
        before = bench.dump()
    log = log_of(casts_at(every_second(500, HOUR_UNIX, 90)))
    faults = Faults(pruned_before_height={1: 590 - kept})
    with serving(log, faults=faults) as url, workbench(database, lake, url) as bench:
        if kept:  # it has forgotten, and goes on: that is an outage
            assert bench.survey().shards[0].lost == (HeightRange(540, 584),)
        else:
            with pytest.raises(HubUntrusted, match="has lost its past"):
                bench.survey()
        assert bench.dump() == before


@pytest.mark.usefixtures("no_pauses")
def test_a_hub_behind_what_was_read_that_does_not_go_on_is_refused(database: Database, lake: Path) -> None:
    with serving(log_of(casts_at(every_second(500, HOUR_UNIX, 40)))) as url, workbench(database, lake, url) as bench:
        bench.run()
    behind = "is behind: its shard 1 is at height 509, but 539 was already read"
    with (
        serving(log_of(casts_at(every_second(500, HOUR_UNIX, 10)))) as url,
        workbench(database, lake, url) as bench,
        pytest.raises(HubUntrusted, match=behind),
    ):
        bench.survey()


@pytest.mark.slow
@pytest.mark.parametrize("gap", [range(104, 108), range(112, 118), range(106, 112)], ids=["inside", "tail", "hour"])
def test_a_feed_without_block_confirmed_may_leave_out_heights(database: Database, lake: Path, gap: range) -> None:
    """Block times are estimated, a second apart: an hour begins about where height 112 is."""
    heights = [height for height in range(100, 130) if height not in gap]
    log = log_of(unconfirmed_casts_at(heights, unix_of_zero=HOUR_UNIX - 112))
    with serving(log) as url, workbench(database, lake, url) as bench:
        missing = bench.missing_hours()
        assert missing == [HOUR, Hour(HOUR_UNIX - 3600)]
        for hour in missing[::-1]:
            bench.run(window=HourWindow(hour, hour))
        assert bench.ledger() == [(1, 100, 129)]
        assert bench.missing_hours() == []
        assert [row.text for row in bench.rows("SELECT text FROM casts ORDER BY text")] == [str(h) for h in heights]
        before = bench.dump()
        bench.rebuild()
        assert bench.dump() == before


def test_a_hole_of_heights_without_blocks_is_filled_in_a_feed_without_block_confirmed(
    database: Database, lake: Path
) -> None:
    first = log_of(unconfirmed_casts_at(range(100, 110)))
    grown = log_of(unconfirmed_casts_at([*range(100, 110), *range(115, 120)]))
    with serving(first) as url, workbench(database, lake, url) as bench:
        bench.run()
    with serving(grown) as url, workbench(database, lake, url) as bench:
        assert bench.survey().shards[0].holes == (HeightRange(110, 119),)
        for hour in bench.missing_hours():
            bench.run(window=HourWindow(hour, hour))
        assert bench.ledger() == [(1, 100, 119)]


def test_heights_that_the_hub_skips_are_a_hole_and_stay_one(database: Database, lake: Path) -> None:
    """A hub that was restored from a snapshot: its blocks jump, and every one has its BLOCK_CONFIRMED."""
    places = every_second(100, HOUR_UNIX, 50)
    log = log_of(casts_at([place for place in places if place[0] not in range(120, 130)]))
    with serving(log) as url, workbench(database, lake, url) as bench:
        bench.run()
        assert bench.ledger() == [(1, 100, 119), (1, 130, 149)]
        shard = bench.survey().shards[0]
        assert shard.holes == ()
        assert shard.lost == (HeightRange(120, 129),)
        assert bench.missing_hours() == []


def test_a_database_that_was_rebuilt_from_the_log_begins_where_the_log_does(database: Database, lake: Path) -> None:
    """The hub has forgotten the beginning by then: it must not count as complete from where the hub begins."""
    log = log_of(casts_at(minutes(100, HOUR_UNIX, 18)))
    faults = Faults()
    with serving(log, faults=faults) as url, workbench(database, lake, url) as bench:
        bench.run(outputs=OUTPUTS)
        bench.tables.empty()
        bench.rebuild(window=HourWindow(HOUR, HOUR))
        faults.pruned_before_height[1] = 112
        shard = bench.survey().shards[0]
        assert shard.origin_height == 100
        assert shard.lost == (HeightRange(106, 111),)
        assert shard.holes == (HeightRange(112, 117),)
