"""The hourly assets: the raw log and every table made from it, in one step, with Arrow tables staying in memory."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dagster import (
    AssetExecutionContext,
    AssetRecordsFilter,
    BackfillPolicy,
    Config,
    Failure,
    MaterializeResult,
    TableMetadataValue,
    multi_asset,
)
from pydantic import Field

from fc_pipeline.errors import LeaseLost
from fc_pipeline.feed.progress import HourProgress
from fc_pipeline.feed.run import RAW_LOG, MicroBatchRun
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.assets.closed_hours import note_repair
from fc_pipeline.orchestration.assets.materialization import SAMPLE, materializations
from fc_pipeline.orchestration.assets.outputs import logged_outputs
from fc_pipeline.orchestration.assets.provenance import PartitionProvenance
from fc_pipeline.orchestration.assets.specs import HOURLY_SPECS
from fc_pipeline.orchestration.checks.evaluation import CheckReporter
from fc_pipeline.orchestration.checks.keys import evaluate_keys
from fc_pipeline.orchestration.checks.raw_log import COVERAGE, FILES, evaluate_files, evaluate_raw_log
from fc_pipeline.orchestration.checks.rows import ROWS_MATCH_LOG, evaluate_rows
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.interruption import Interruption, interruptible
from fc_pipeline.orchestration.names import Names, bare
from fc_pipeline.orchestration.partitions import HOURS, hour_window
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.replica import Replica
from fc_pipeline.status import health

__all__ = ["FOLLOW_TAG", "MicroBatchConfig", "hourly_tables"]

FOLLOW_TAG = "fc/follow"
"""Tag of the runs that follow the present hour for the sensor: each continues until the next one is ready."""
OVERTIME_SECONDS = 60.0
REPORT_SECONDS = 60.0
RANGE_REPORT_SECONDS = 10.0
"""For runs over several hours, to show their progress."""
EVALUATE_SECONDS = 60.0

_SPECS: Final = {spec.key: spec for spec in HOURLY_SPECS}


class MicroBatchConfig(Config):
    """Config of a run of the hourly assets."""

    rebuild: bool = Field(
        default=True,
        description="Fold also what the ledger says is folded: rebuilds tables from the raw log. Rows that are right "
        "stay untouched. Off: read what is missing, and nothing else.",
    )
    follow_seconds: float | None = Field(
        default=None,
        ge=0,
        description="How long to follow the feed once its tip is reached, if the present hour is among the partitions. "
        "Default: FC_FOLLOW_SECONDS for a run of the sensor, 0 otherwise.",
    )
    hours_ahead: int = Field(
        default=0,
        ge=0,
        description="How many hours behind the partitions are read as well: where this machine's clock is behind the "
        "network's, Dagster has no partition yet of the hour that is being written.",
    )
    compact: bool = Field(default=False, description="Join the hour's small Parquet files afterwards.")


@multi_asset(
    name="micro_batch",
    specs=HOURLY_SPECS,
    partitions_def=HOURS,
    can_subset=True,
    backfill_policy=BackfillPolicy.single_run(),
)
def hourly_tables(
    context: AssetExecutionContext, config: MicroBatchConfig, replica: ReplicaResource
) -> Iterator[MaterializeResult[Any]]:
    """Read the hub's feed into the raw log, and fold it into the tables, hour by hour.

    With `hub_events` selected, reads missing blocks from the hub; without it, rebuilds the tables from the raw log.
    """
    # Sources first: Dagster calls an asset "unsynced" if its sources are materialised after it.
    selected = {bare(key) for key in context.selected_asset_keys}
    outputs = [bare(spec.key) for spec in HOURLY_SPECS if bare(spec.key) in selected]
    with failing_step(), interruptible() as interruption, replica.open(need_hub=RAW_LOG in outputs) as opened:
        reporter = _RunReporter(
            context,
            replica.names,
            opened,
            outputs,
            interruption,
            follows=bool(config.follow_seconds),
            rebuilds=config.rebuild,
        )
        window = hour_window(context.partition_time_window, hours_ahead=config.hours_ahead)
        run = MicroBatchRun(
            opened,
            context.run.run_id,
            window,
            outputs,
            follow_seconds=config.follow_seconds or 0.0,
            overtime_seconds=OVERTIME_SECONDS if FOLLOW_TAG in context.run.tags else 0.0,
            rebuild=config.rebuild,
            report=reporter.report,
            report_seconds=REPORT_SECONDS if window.first == window.last else RANGE_REPORT_SECONDS,
            should_stop=interruption.is_requested,
        )
        try:
            progress = run.execute()
        except LeaseLost as lost:
            if FOLLOW_TAG not in context.run.tags:
                raise
            context.log.warning(f"handed over: {lost.message}")  # its successor continues: no failure
            return
        if interruption.end_run(context):
            return
        if config.compact:
            run.compact()
        incomplete = reporter.find_holes([hour.hour for hour in progress.hours])
        reporter.evaluate()
        if interruption.end_run(context):
            return
    if incomplete:
        raise Failure("; ".join(incomplete))  # downstream assets need an hour without holes
    yield from logged_outputs(outputs)


@dataclass
class _RunReporter:
    """Reports a run's progress to Dagster while it works, and the check results of its assets."""

    context: AssetExecutionContext
    names: Names
    replica: Replica
    outputs: Sequence[str]
    interruption: Interruption
    follows: bool
    rebuilds: bool
    _evaluated_at: float = float("-inf")
    _checks: CheckReporter = field(init=False)
    _repaired: dict[Hour, int] = field(default_factory=dict[Hour, int])

    def __post_init__(self) -> None:
        self._checks = CheckReporter(self.context, self.names, self.outputs)

    def report(self, hours: Sequence[HourProgress]) -> None:
        """Log a materialisation per asset and hour."""
        for hour in hours:
            provenance = PartitionProvenance(self.context.instance, self.names, hour.hour.key)
            for event in materializations(self.replica, hour, self.outputs, self._earlier_sample):
                spec = _SPECS[event.asset_key]
                made_of = provenance.tags(spec.code_version, [dep.asset_key for dep in spec.deps])
                self.context.log_event(self.names.event(event._replace(tags={**(event.tags or {}), **made_of})))
            self._note_repair(hour)
        self._checks.repeat()
        is_due = time.monotonic() - self._evaluated_at >= EVALUATE_SECONDS
        if self.follows and is_due and not self.interruption.is_requested():  # checks query hubs, which may take long
            self.evaluate()

    def _note_repair(self, hour: HourProgress) -> None:
        if hour.rows_written > self._repaired.get(hour.hour, 0):
            self._repaired[hour.hour] = hour.rows_written
            note_repair(self.context, self.names, hour.hour, hour.rows_written)

    def _earlier_sample(self, asset: str, partition: str) -> TableMetadataValue | None:
        wanted = AssetRecordsFilter(self.names.key(asset), asset_partitions=[partition])
        records = self.context.instance.fetch_materializations(wanted, limit=1).records
        found = records[0].asset_materialization if records else None
        sample = found.metadata.get(SAMPLE) if found else None
        return sample if isinstance(sample, TableMetadataValue) else None

    def evaluate(self) -> None:
        """Log the check results of the assets as a whole; expensive checks are left to the job that runs all."""
        self._evaluated_at = time.monotonic()
        if RAW_LOG in self.outputs:
            self._checks.report(evaluate_raw_log(self.replica))
            if self._checks.lacks_evaluation(FILES):
                self._checks.report([evaluate_files(self.replica, read_bytes=0)])
        tables = [name for name in self.outputs if name != RAW_LOG]
        self._checks.report(evaluate_keys(self.replica, tables))
        if tables and not self.follows and (self.rebuilds or self._checks.lacks_evaluation(ROWS_MATCH_LOG)):
            self._checks.report(evaluate_rows(self.replica, tables))

    def find_holes(self, hours: Sequence[Hour]) -> list[str]:
        """Log what was read of each hour; returns the hours of the raw log that have holes."""
        incomplete: list[str] = []
        for hour in hours if RAW_LOG in self.outputs else ():
            found = health.coverage_of_hours(self.replica, [hour])
            summary = f"{hour.key}: {found.covered_blocks:,} blocks folded, {found.missing_blocks:,} missing"
            if found.blocks_by_snapshots:
                summary += f", {found.blocks_by_snapshots:,} known by snapshots only"
            if not found.missing_blocks:
                self.context.log.info(summary)
                continue
            heights = "; ".join(
                f"shard {shard}: {', '.join(f'{one.first}-{one.last}' for one in holes)}"
                for shard, holes in found.holes.items()
                if holes
            )
            self.context.log.error(f"{summary} ({heights})")
            incomplete.append(f"{COVERAGE} of {hour.key}: {found.missing_blocks} blocks are missing ({heights})")
        return incomplete
