"""A stream of which one event in a hundred is poison: no crash, no good row lost, each poison in quarantine once."""

import random
from collections import Counter
from pathlib import Path

import pytest

from fc_pipeline.feed.progress import Progress
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.poison_kinds import KINDS
from fc_pipeline_tests.support.poison_stream import Spoilt, good_log, spoil
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

EVENTS = 6_000


def quarantined(bench: Workbench) -> Counter[tuple[int, bytes, str]]:
    rows = bench.rows("SELECT shard, raw, reason FROM pipeline.quarantine")
    return Counter((row.shard, row.raw, row.reason) for row in rows)


def check_quarantine(bench: Workbench, spoilt: Spoilt, of_good: Counter[tuple[int, bytes, str]]) -> None:
    """Each poison event that cannot be stored as it is stands there once, with its reason and its bytes.

    `of_good` is what good events leave there.
    """
    expected = of_good + Counter((p.place.shard, p.raw, p.kind.reason) for p in spoilt.planted if p.kind.reason)
    found = quarantined(bench)
    names = {(p.place.shard, p.raw): p.name for p in spoilt.planted}

    def named(records: Counter[tuple[int, bytes, str]]) -> list[str]:
        return [f"{names.get((s, raw), raw[:200])}: {reason}" for s, raw, reason in records.elements()]

    assert (named(expected - found), named(found - expected)) == ([], [])
    assert all(row.detail for row in bench.rows("SELECT detail FROM pipeline.quarantine"))


def difference(found: dict[str, list[str]], expected: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """What is only in one of two dumps: rows of 10 MB are not for a diff."""
    cut = {}
    for table in expected:
        lost, extra = Counter(expected[table]), Counter(found[table])
        lost, extra = lost - extra, extra - lost
        if lost or extra:
            cut[table] = (
                [r[:400] for r in sorted(lost.elements())[:5]],
                [r[:400] for r in sorted(extra.elements())[:5]],
            )
    return cut


def check_fates(progress: Progress, spoilt: Spoilt) -> None:
    """Every event that was fetched became exactly one thing, hour by hour; counted beside from the log itself."""
    for hour in progress.hours:
        assert hour.events_unaccounted == 0
        assert min(hour.events_written, hour.events_unchanged) >= 0
        total = hour.events_written + hour.events_unchanged + hour.outcomes.without_rows + hour.outcomes.filtered
        assert hour.events == total + hour.outcomes.quarantined
    assert progress.events == spoilt.log.events
    aside = sum(p.kind.reason not in (None, "nul_removed") for p in spoilt.planted)
    assert sum(hour.outcomes.quarantined for hour in progress.hours) == aside
    assert sum(hour.outcomes.filtered for hour in progress.hours) == 0


def check_spoilt(
    spoilt: Spoilt, database: Database, other_database: Database, tmp_path: Path, batch_events: int
) -> None:
    """The stream with poison and the one without leave the same tables; also when it is folded again from the log."""
    with serving(spoilt.reference) as url, workbench(other_database, tmp_path / "other", url) as bench:
        bench.run()
        expected = bench.dump()
        of_good = quarantined(bench)
    with serving(spoilt.log) as url, workbench(database, tmp_path / "lake", url, batch_events=batch_events) as bench:
        check_fates(bench.run(), spoilt)
        check_quarantine(bench, spoilt, of_good)
        assert difference(bench.dump(), expected) == {}
        assert bench.logged() == {number: list(shard.raws) for number, shard in spoilt.log.shards.items()}
        assert bench.survey().shards[0].holes == bench.survey().shards[1].holes == ()
    before = bench.quarantine()
    again = bench.rebuild()
    assert sum(hour.events_written for hour in again.hours) == 0
    assert all(hour.events_unaccounted == 0 for hour in again.hours)
    assert bench.quarantine() == before
    assert difference(bench.dump(), expected) == {}


HEAVY = [name for name in KINDS if "MB" in name or "100,000" in name]
LIGHT = [name for name in KINDS if name not in HEAVY]


@pytest.mark.slow
def test_one_percent_of_poison_costs_no_row_and_is_all_set_aside(
    database: Database, other_database: Database, tmp_path: Path
) -> None:
    """Nearly every kind there is: a bit more than one percent of a short stream."""
    spoilt = spoil(good_log(11, EVENTS), seed=1, names=[*LIGHT, "text of 10 MB"])
    check_spoilt(spoilt, database, other_database, tmp_path, batch_events=1_000)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(24))
def test_poison_anywhere_in_pages_of_any_size(
    database: Database, other_database: Database, tmp_path: Path, seed: int
) -> None:
    batch_events = random.Random(seed).choice([7, 20, 50, 200, 1_000, 5_000])
    share = random.Random(seed + 1).choice([0.01, 0.05, 0.1])
    spoilt = spoil(good_log(seed, 2_500), seed, share, LIGHT)
    check_spoilt(spoilt, database, other_database, tmp_path, batch_events)


@pytest.mark.faults
def test_one_percent_of_a_long_stream(database: Database, other_database: Database, tmp_path: Path) -> None:
    """Every kind there is."""
    spoilt = spoil(good_log(12, 30_000, fids=300), seed=2)
    assert len(spoilt.planted) >= spoilt.log.events // 100
    check_spoilt(spoilt, database, other_database, tmp_path, batch_events=10_000)
