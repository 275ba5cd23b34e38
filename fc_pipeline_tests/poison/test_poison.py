"""A stream of which one event in a hundred is poison: no crash, no good row lost, each poison in quarantine once."""

from collections import Counter
from pathlib import Path

from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.conftest import Database
from fc_pipeline_tests.poison.stream import Spoilt, good_log, spoil
from fc_pipeline_tests.workbench import Workbench, workbench

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


def test_one_percent_of_poison_costs_no_row_and_is_all_set_aside(
    database: Database, other_database: Database, tmp_path: Path
) -> None:
    spoilt = spoil(good_log(11, EVENTS), seed=1)
    with serving(spoilt.reference) as url, workbench(other_database, tmp_path / "other", url) as bench:
        bench.run()
        expected = bench.dump()
        of_good = quarantined(bench)
    with serving(spoilt.log) as url, workbench(database, tmp_path / "lake", url, batch_events=500) as bench:
        progress = bench.run()
        check_quarantine(bench, spoilt, of_good)
        assert difference(bench.dump(), expected) == {}
        assert bench.logged() == {number: list(shard.raws) for number, shard in spoilt.log.shards.items()}
        assert progress.events == spoilt.log.events
