"""Daily maintenance: raw log, lines of the ledger, digests, statistics of partitions, and Dagster's own history."""

from dagster import DagsterInstance, OpExecutionContext, job, op

from fc_pipeline.feed.run import compact_finished_hours
from fc_pipeline.feed.stopping import Stopped
from fc_pipeline.live_set.upkeep import digest_keeper
from fc_pipeline.orchestration.checks.evaluation import evaluation_of
from fc_pipeline.orchestration.checks.raw_log import evaluate_files
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.instance.retention import purge_run_history
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.named_hours import look_through_recent
from fc_pipeline.repair.raw_log import repair_recent_log
from fc_pipeline.status import health
from fc_pipeline.store import partitions
from fc_pipeline.store.joined_lines import join_lines

__all__ = ["MAINTENANCE"]


@op(description="Read the raw log's files of the days that a hub still has; read damaged ones from the hub again.")
@failing_step()
def repair_raw_log(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """Repair damaged files that no run reads any more, while a hub still has their events."""
    with replica.open() as opened:
        damaged = repair_recent_log(opened, context.run_id)
        for hour in damaged:
            mended = not health.lost_of(opened, [hour], reading=True)
            context.log.warning("raw_log_was_damaged hour=%s mended=%s", hour.key, mended)
        if damaged:
            context.instance.report_runless_asset_event(evaluation_of(evaluate_files(opened), replica.names))


@op(description="Join the small files of finished hours that were written to in the last days.")
@failing_step()
def compact_raw_log(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """Compact hours that a run wrote to after their close."""
    with replica.open(need_hub=False) as opened:
        context.log.info("files_saved=%d", compact_finished_hours(opened))


@op(description="With FC_TARGETS=set: note whom the hours name that were written lately, for targets that are to come.")
@failing_step()
def look_through_log(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """A new target then reads only hours that name it."""
    with replica.open(need_hub=False) as opened, interruptible() as interruption:
        if opened.targets is None:
            return
        try:
            look_through_recent(opened, should_stop=interruption.is_requested)
        except Stopped:
            context.log.info("stopped: the rest is looked through tomorrow, or by the first target that asks")


@op(description="Join the ledger's lines of hours that are over: one of a shard and hour instead of one per run.")
@failing_step()
def join_ledger_lines(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """Keep a year's ledger as short as its hours."""
    with replica.open(need_hub=False) as opened, interruptible() as interruption:
        context.log.info("lines_saved=%d", join_lines(opened.engine, should_stop=interruption.is_requested))


@op(description="Make the digests of users anew whose live records have changed: what the state root is proved from.")
@failing_step()
def refresh_digests(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """Catch up with what folds noted; of all users at the first time."""
    with replica.open(need_hub=False) as opened:
        shard_count = opened.shard_count()
        if shard_count is None:
            return
        with interruptible() as interruption, digest_keeper(opened, context.run_id, shard_count) as keeper:
            made = keeper.refresh(should_stop=interruption.is_requested)
        context.log.info("digests_made fids=%d leaves=%d seconds=%.1f", made.fids, made.leaves, made.seconds)


@op(description="Gather statistics of partitioned tables as wholes: autovacuum gathers those of each partition alone.")
@failing_step()
def analyze_partitioned(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """Tell the planner how partitioned tables are as wholes, which it joins and groups by."""
    with replica.open(need_hub=False) as opened:
        context.log.info("tables_analyzed=%s", ",".join(partitions.analyze(opened.engine)))


@op(description="Delete the event logs of old runs; materialisations and checks stay, so partitions keep their status.")
@failing_step()
def purge_old_runs(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """Purge run logs: Dagster keeps them for ever, and a run every few minutes would fill the disk."""
    if replica.names.are_prefixed:  # in somebody else's Dagster there are runs that are not ours
        context.log.info("left to whose Dagster this is: it has other runs, too")
        return
    instance: DagsterInstance = context.instance
    context.log.info("rows_purged=%d", purge_run_history(instance))


@job(
    name="maintenance",
    description="Daily: compact the raw log, join lines of the ledger, make digests, analyze, purge logs of old runs.",
)
def MAINTENANCE() -> None:  # noqa: N802 - a job is a constant of the code location
    """The steps, independent of each other."""
    repair_raw_log()
    compact_raw_log()
    join_ledger_lines()
    look_through_log()
    refresh_digests()
    analyze_partitioned()
    purge_old_runs()
