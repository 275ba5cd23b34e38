"""`fc-pipeline backfill`: snapshots of users' whole history, folded. The same run that Dagster would launch."""

import json
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fc_pipeline.cli.chosen_fids import describe_left_out, left_out
from fc_pipeline.config.project import dagster_home
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError, SchemaMissing, ServiceError
from fc_pipeline.services import close_services_for_process, open_services

if TYPE_CHECKING:
    from fc_pipeline.backfill.estimate import BackfillEstimate
    from fc_pipeline.backfill.progress import BackfillOutcome, BackfillProgress
    from fc_pipeline.backfill.scope import BackfillScope
    from fc_pipeline.repair.gaps import HealingPlan
    from fc_pipeline.replica import Replica
    from fc_pipeline.store.fid_listings import RoundProgress

__all__ = ["backfill", "counted", "numbers_of", "print_outcome"]

_MAX_FID = 2**63 - 1
_LAST_BUCKET = 255
_MAX_NAMED = 10
_MAX_WORKERS = 64
_COLUMNS = (
    TextColumn("reconciling"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("FIDs, {task.fields[requests]:,} requests"),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


def backfill(
    fids: Annotated[str | None, typer.Option(help="These users, such as 3,12.")] = None,
    buckets: Annotated[str | None, typer.Option(help="The users of these buckets (fid % 256), such as 0-15.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every user that the hub lists.")] = False,
    gaps: Annotated[bool, typer.Option("--gaps", help="The users of open gaps; heals the gaps.")] = False,
    workers: Annotated[
        int,
        typer.Option(min=1, max=_MAX_WORKERS, help="With --all or --buckets: so many runs at a time."),
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what it would take.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
) -> None:
    """Fetch all that the hub has of users into the lake, and make the tables equal to it."""
    if sum((fids is not None, buckets is not None, everyone, gaps)) != 1:
        raise ConfigError(
            "backfill takes one of --fids, --buckets, --all and --gaps", hint="fc-pipeline backfill --help"
        )
    if workers > 1 and (gaps or fids is not None):
        raise ConfigError("--workers goes with --all and --buckets", hint="leave it out: one run does these users")
    chosen = numbers_of(fids, "--fids", 1, _MAX_FID) if fids is not None else None
    ranges = numbers_of(buckets, "--buckets", 0, _LAST_BUCKET) if buckets is not None else range(_LAST_BUCKET + 1)
    warnings.filterwarnings("ignore", module="fc_pipeline")  # Dagster says "preview" of what the assets use
    settings = Settings.load()
    # As Ctrl-C: the run is recorded as ended, and the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_services(settings, need_redis=None) as opened:
        from fc_pipeline.backfill.scope import BackfillScope

        if chosen is not None and opened.targets == "set":
            chosen = _without_others(opened, chosen, dry_run=dry_run)
        scope = BackfillScope.of_fids(chosen) if chosen is not None else BackfillScope(tuple(sorted(ranges)))
        plan = _plan_healing(opened, dry_run=dry_run) if gaps else None
        if plan is not None and not plan.damaged_ranges:
            sys.stdout.write(json.dumps({"gaps": 0}) + "\n" if as_json else "no gap is open\n")
        elif dry_run:
            _print_estimate(opened, plan.scope if plan is not None else scope, as_json=as_json)
        elif plan is not None:
            print_outcome(_heal(quiet=as_json), as_json=as_json, gaps=len(plan.damaged_ranges))
        elif scope.fids is not None:
            print_outcome(_run(scope, sorted(scope.fids), quiet=as_json), as_json=as_json)
        else:
            print_outcome(_share(opened, scope, workers, quiet=as_json), as_json=as_json)


def _without_others(settings: Settings, fids: Collection[int], *, dry_run: bool) -> Collection[int]:
    """The chosen users who are targets; reports that the others are left out. Raises ConfigError."""
    with _opened(settings, to_read=dry_run) as replica:
        others = left_out(replica, fids)
    if others:
        Console(stderr=True, highlight=False, soft_wrap=True).print(describe_left_out(others))
    return set(fids).difference(others)


@contextmanager
def _opened(settings: Settings, *, to_read: bool) -> "Generator[Replica]":
    """The replica, with tables created and migrated for a run; a dry run creates and records nothing.

    But in the embedded database, which is ours alone, a dry run creates missing tables.
    """
    from fc_pipeline.replica import open_replica, open_replica_to_read

    with ExitStack() as stack:
        if not to_read:
            yield stack.enter_context(open_replica(settings))
            return
        try:
            replica = stack.enter_context(open_replica_to_read(settings))
        except SchemaMissing:
            if Settings.load().postgres_url is not None:
                raise
            with open_replica(settings):
                pass
            replica = stack.enter_context(open_replica_to_read(settings))
        yield replica


def numbers_of(text: str, option: str, least: int, most: int) -> Collection[int]:
    """The numbers of a list such as `3,16-18`. Raises ConfigError naming the option."""
    found: set[int] = set()
    for item in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = item.partition("-")
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdecimal() and least <= int(end) <= most for end in ends):
            raise ConfigError(
                f"{option} has {item!r}", hint=f"expected: numbers from {least} to {most}, such as 3,16-18"
            )
        if int(ends[1]) < int(ends[0]):
            raise ConfigError(f"{option} has {item!r}, a reversed range", hint=f"did you mean {last}-{first}?")
        if int(ends[1]) - int(ends[0]) > 1_000_000:
            raise ConfigError(f"{option} has {item!r}, which is too many", hint="name a million at most")
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    if not found:
        raise ConfigError(f"{option} names nothing", hint="expected: numbers, such as 3,16-18")
    return found


def _print_estimate(settings: Settings, scope: "BackfillScope", *, as_json: bool) -> None:
    from fc_pipeline.backfill.estimate import estimate
    from fc_pipeline.backfill.progress import duration

    with _opened(settings, to_read=True) as replica:
        found = estimate(replica, scope)
    if as_json:
        sys.stdout.write(json.dumps(_estimate_figures(found)) + "\n")
        return
    console = Console(highlight=False)
    if found.fids_left < found.fids:
        console.print(
            f"{found.fids - found.fids_left:,} of {counted(found.fids, 'FID')} fetched by a run that was cut short"
        )
    console.print(
        f"{counted(found.fids_left, 'FID')}: about {counted(found.requests, 'request')}, {counted(found.rows, 'row')}, "
        f"{duration(found.seconds)} at {found.requests_per_second:,.0f} requests per second "
        f"(from a sample of {counted(found.sampled_fids, 'FID')})"
    )


def _estimate_figures(found: "BackfillEstimate") -> dict[str, float]:
    return {
        "fids": found.fids,
        "fids_left": found.fids_left,
        "sampled_fids": found.sampled_fids,
        "requests": found.requests,
        "rows": found.rows,
        "hours": round(found.hours, 3),
        "requests_per_second": round(found.requests_per_second, 3),
    }


def _plan_healing(settings: Settings, *, dry_run: bool) -> "HealingPlan":
    from fc_pipeline.repair.gaps import plan_healing

    with _opened(settings, to_read=dry_run) as replica:
        return plan_healing(replica)


def _run(scope: "BackfillScope", fids: list[int], *, quiet: bool) -> "BackfillOutcome":
    """One run over chosen FIDs, whatever their buckets: it leaves the other buckets of its range alone."""
    from dagster import DagsterInstance  # importing Dagster takes seconds

    from fc_pipeline.backfill.progress import BackfillOutcome
    from fc_pipeline.cli.in_process import run_over_partitions
    from fc_pipeline.lake.snapshot_log import bucket_key
    from fc_pipeline.orchestration.assets.snapshots import BackfillConfig, fid_tables
    from fc_pipeline.orchestration.jobs import SNAPSHOTS

    first, last = bucket_key(scope.buckets[0]), bucket_key(scope.buckets[-1])
    config = BackfillConfig(fids=fids)
    try:
        with DagsterInstance.from_config(str(dagster_home())) as instance, _bar(quiet=quiet):
            figures = run_over_partitions(instance, SNAPSHOTS.name, fid_tables.op.name, config, first, last)
    finally:
        close_services_for_process()
    return BackfillOutcome.of_figures(figures)


def _share(settings: Settings, scope: "BackfillScope", workers: int, *, quiet: bool) -> "BackfillOutcome":
    """The round over these buckets, new or taken up, by this process or by several; what they have done here.

    Raises ServiceError where others are still at some of it.
    """
    from fc_pipeline.backfill.shared_round import join_or_begin, left_of
    from fc_pipeline.store import fid_listings

    with _opened(settings, to_read=False) as replica:
        shared = join_or_begin(replica, scope.buckets)
        listing = shared.listing
        with replica.engine.connect() as connection:
            left = left_of(connection, listing)
            numbers = fid_listings.numbers_by_bucket(connection, listing.id, listing.buckets)
        if shared.is_joined:
            done_before = f"{counted(len(scope.buckets) - len(left), 'bucket')} of {len(scope.buckets):,}"
            Console(stderr=True, highlight=False).print(f"a round goes on: {done_before} are done")
        try:
            if workers == 1:
                from fc_pipeline.cli.shared_backfill import backfill_here  # importing Dagster takes seconds

                with _bar(quiet=quiet):
                    done = backfill_here(listing)
            else:
                from fc_pipeline.cli.backfill_crew import backfill_by_workers

                with _bar_of_round(quiet=quiet) as show:

                    def look() -> None:
                        with replica.engine.connect() as connection:
                            show(fid_listings.progress(connection, listing, numbers))

                    done = backfill_by_workers(listing, left, workers, look)
        finally:
            close_services_for_process()
        with replica.engine.connect() as connection:
            left = left_of(connection, listing)
    if left:
        raise ServiceError(
            f"{counted(len(left), 'bucket')} of this round are not done: another worker is at them, or has ended",
            hint="the same command goes on with what is left then",
        )
    return done


def _heal(*, quiet: bool) -> "BackfillOutcome":
    """A run that heals the gaps; returns what it has done."""
    from dagster import DagsterInstance  # importing Dagster takes seconds

    from fc_pipeline.backfill.progress import BackfillOutcome
    from fc_pipeline.cli.in_process import run_for_output
    from fc_pipeline.orchestration.healing_job import HEAL_GAPS, heal_open_gaps

    try:
        with DagsterInstance.from_config(str(dagster_home())) as instance, _bar(quiet=quiet):
            healed = run_for_output(instance, HEAL_GAPS.name, heal_open_gaps.name)
    finally:
        close_services_for_process()
    return BackfillOutcome.of_figures(healed["outcome"])


@contextmanager
def _bar_of_round(*, quiet: bool) -> Generator["Callable[[RoundProgress], None]"]:
    """A progress bar over the FIDs of a round, whoever works on it; gives what shows how far it is."""
    with Progress(*_COLUMNS, console=Console(stderr=True, quiet=quiet)) as progress:
        bar = progress.add_task("fids", total=None, requests=0)
        yield lambda now: progress.update(bar, total=now.fids, completed=now.fids_fetched, requests=now.requests)


@contextmanager
def _bar(*, quiet: bool) -> Generator[None]:
    """A progress bar over FIDs, fed by what the work logs."""
    logger = logging.getLogger("fc_pipeline.backfill.run")
    with Progress(*_COLUMNS, console=Console(stderr=True, quiet=quiet)) as progress:
        bar = progress.add_task("fids", total=None, requests=0)

        class Feed(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                now: BackfillProgress | None = getattr(record, "progress", None)
                if now is not None:
                    progress.update(bar, total=now.fids, completed=now.fids - now.fids_left, requests=now.requests)

        feed = Feed(logging.DEBUG)
        before = logger.level
        logger.addHandler(feed)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(feed)
            logger.setLevel(before)


def print_outcome(done: "BackfillOutcome", *, as_json: bool, gaps: int | None = None) -> None:
    """Print the results of the runs, as text or JSON."""
    if as_json:
        outcome = {
            "fids": done.fids,
            "requests": done.requests,
            "records": done.records,
            "rows_written": done.rows_written,
            "drift": dict(done.drift),
            "quarantined": done.quarantined,
            "unjudged_fids": done.uncovered_fids,
            "unknown_fids": sorted(done.unknown_fids),
        }
        if gaps is not None:
            outcome["gaps"] = gaps
        sys.stdout.write(json.dumps(outcome) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    if gaps is not None:
        console.print(f"{counted(gaps, 'gap')} healed")
    console.print(
        f"{counted(done.fids, 'FID')} reconciled with {counted(done.requests, 'request')}: "
        f"{counted(done.rows_written, 'row')} written{_describe_drift(done)}"
    )
    unknown = sorted(done.unknown_fids)
    if unknown:
        named = ", ".join(map(str, unknown[:_MAX_NAMED])) + (", …" if len(unknown) > _MAX_NAMED else "")
        console.print(f"The hub has no record of {counted(len(unknown), 'FID')}: {named}")


def _describe_drift(done: "BackfillOutcome") -> str:
    """The result of the comparison, and how many FIDs it does not cover."""
    drift = sum(done.drift.values())
    if drift:
        sentence = f", {drift:,} of them drift (pipeline.drift)"
    else:
        sentence = ", no drift" if done.uncovered_fids < done.reconciled_fids else ""
    if done.uncovered_fids:
        sentence += f"; {counted(done.uncovered_fids, 'FID')} not compared (history not covered)"
    return sentence


def counted(number: int, thing: str) -> str:
    """A number of things, such as `1 FID`, `2,000 FIDs`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
