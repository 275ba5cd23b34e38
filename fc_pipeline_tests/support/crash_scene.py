"""A hub with a generated log, what an undisturbed run makes of it, and the four numbers of a disturbed one."""

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import counts
from fc_pipeline.tables.columns import Comparison
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.folded import as_folded
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Heights, Workbench, workbench

BATCH_EVENTS = 60
"""Small, so that a run has many micro-batches to be cut short in."""

Keyed = dict[str, list[tuple[str, str]]]
"""Per table the key and the whole of every row, as text."""


def keyed_rows(bench: Workbench) -> Keyed:
    keys = {table.qualified: (table.key, as_folded(table)) for table in (*DATA_TABLES.values(), LINK_COMPACTIONS)}
    keys |= {table.qualified: ((table.key.name,), as_folded(table.name)) for table in COUNT_TABLES}
    return {
        name: [
            (row.key, row.whole)
            for row in bench.rows(f"SELECT ROW({', '.join(key)})::text AS key, {whole} AS whole FROM {name}")
        ]
        for name, (key, whole) in keys.items()
    }


def live_rows(bench: Workbench) -> Keyed:
    """Live rows without what says how they came: equal for the feed and for snapshots."""
    found: Keyed = {}
    for name, table in DATA_TABLES.items():
        if table.comparison is Comparison.NONE:  # of what only the feed tells nothing is in snapshots
            continue
        left_out = {"version", "block_time", "network_time", "deleted_at", "deleted_reason"}
        left_out |= {"hash", "precedence"} if name == "username_proofs" else set()
        columns = ", ".join(column for column in table.names if column not in left_out)
        query = (
            f"SELECT ROW({', '.join(table.key)})::text AS key, ROW({columns})::text AS whole "
            f"FROM {name} WHERE deleted_at IS NULL"
        )
        found[name] = [(row.key, row.whole) for row in bench.rows(query)]
    return found


@dataclass(frozen=True)
class Verdict:
    """What a disturbed replica has otherwise than an undisturbed one, in rows."""

    lost: int
    duplicate: int
    stale: int
    phantom: int

    @classmethod
    def of(cls, expected: Keyed, found: Keyed) -> "Verdict":
        lost = duplicate = stale = phantom = 0
        for name, rows in expected.items():
            right, there = dict(rows), Counter(key for key, _ in found[name])
            lost += len(right.keys() - there.keys())
            phantom += len(there.keys() - right.keys())
            duplicate += sum(there.values()) - len(there)
            stale += sum(whole != right[key] for key, whole in found[name] if key in right)
        return cls(lost, duplicate, stale, phantom)


NOTHING_WRONG = Verdict(0, 0, 0, 0)


@dataclass(frozen=True)
class Scene:
    """The hub, and what its log makes of a replica that nobody disturbs."""

    url: str
    log: EventLog
    rows: Keyed
    snapshot_rows: Keyed
    quarantine: list[tuple[int, int, str]]
    hours: tuple[Hour, Hour]

    @property
    def heights(self) -> list[Heights]:
        return [(n, one.event_ids[0] >> 14, one.event_ids[-1] >> 14) for n, one in sorted(self.log.shards.items())]

    @property
    def blocks(self) -> int:
        return sum(last - first + 1 for _, first, last in self.heights)

    def check(self, bench: Workbench) -> None:
        """The disturbed replica is as the undisturbed one: rows, counts, ledger, raw log and quarantine."""
        assert Verdict.of(self.rows, keyed_rows(bench)) == NOTHING_WRONG
        assert [bench.rows(counts.wrong(table)) for table in COUNT_TABLES] == [[], []]
        assert bench.ledger() == self.heights
        sums = bench.rows(
            "SELECT sum(events) AS events, sum(to_height - from_height + 1) AS blocks FROM pipeline.coverage"
        )[0]
        assert (sums.events, sums.blocks) == (sum(len(one.raws) for one in self.log.shards.values()), self.blocks)
        assert bench.logged() == {number: list(one.raws) for number, one in self.log.shards.items()}
        assert bench.quarantine() == self.quarantine
        # What a killed run held is free, and taken by who needs it.
        living = "SELECT 1 FROM pipeline.leases JOIN pg_stat_activity ON pid = backend_pid AND datname IS NOT NULL"
        assert bench.rows(living) == []

    def check_snapshots(self, bench: Workbench) -> None:
        """The same after a backfill alone."""
        assert Verdict.of(self.snapshot_rows, live_rows(bench)) == NOTHING_WRONG
        assert [bench.rows(counts.wrong(table)) for table in COUNT_TABLES] == [[], []]
        assert bench.rows("SELECT 1 FROM pipeline.snapshots WHERE folded_file IS DISTINCT FROM file") == []
        assert bench.rows("SELECT 1 FROM pipeline.drift") == []


def covered_blocks(bench: Workbench) -> int:
    found = bench.rows("SELECT coalesce(sum(to_height - from_height + 1), 0) AS n FROM pipeline.coverage")
    return int(found[0].n)


def lines_of(seed: int, events: int, fids: int = 40, **options: Any) -> list[bytes]:
    """Two shards across an hour's end, with everything that may go wrong in the data besides."""
    seconds = events / 30.0
    start_unix = HOUR_UNIX + 3600 - int(seconds / 2)
    return list(
        generate(
            seed,
            fids=fids,
            events=events,
            events_per_second=30.0,
            start_unix=start_unix,
            huge_fids=True,
            unknown_types=True,
            **options,
        )
    )


_undisturbed: dict[int, tuple[Keyed, Keyed, list[tuple[int, int, str]], tuple[Hour, Hour]]] = {}
"""Per log what it makes of a replica: the same for every module that serves it."""


@contextmanager
def open_scene(postgres: EmbeddedPostgres, folder: Path, lines: Sequence[bytes]) -> Generator[Scene]:
    """Serve the log; the undisturbed runs are made here."""
    log = log_from_lines(lines)
    key = hash(tuple(lines))
    with serving(log) as url:
        if key not in _undisturbed:
            _undisturbed[key] = _run_undisturbed(postgres, folder, url)
        rows, snapshot_rows, quarantine, hours = _undisturbed[key]
        yield Scene(url, log, rows, snapshot_rows, quarantine, hours)


def _run_undisturbed(
    postgres: EmbeddedPostgres, folder: Path, url: str
) -> tuple[Keyed, Keyed, list[tuple[int, int, str]], tuple[Hour, Hour]]:
    with fresh_database(postgres) as database, workbench(database, folder / "undisturbed" / "lake", url) as bench:
        span = bench.missing_span()
        bench.run()
        rows, quarantine = keyed_rows(bench), bench.quarantine()
    with fresh_database(postgres) as database, workbench(database, folder / "snapshots" / "lake", url) as bench:
        Backfill(bench.replica, "undisturbed", BackfillScope()).execute()
        return rows, live_rows(bench), quarantine, (span.first, span.last)
