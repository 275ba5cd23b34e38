"""The sensor that triggers micro-batch runs: one that follows the present hour, one for each hour that is missing."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import takewhile

import msgspec
from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunConfig,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from fc_pipeline.errors import HubError
from fc_pipeline.feed.outputs import OUTPUTS, RAW_LOG
from fc_pipeline.feed.survey import Survey, survey
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.hub.network_time import clock_warning
from fc_pipeline.hub.probe import probe_pool
from fc_pipeline.orchestration.assets.hourly import FOLLOW_TAG, MicroBatchConfig, hourly_tables
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.instance.concurrency import catch_up_tags, max_catch_up_runs
from fc_pipeline.orchestration.jobs import MICRO_BATCHES
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.partitions import first_loaded_hour
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.runs_in_flight import UNFINISHED, may_just_have_started
from fc_pipeline.orchestration.sensors.attempts import Attempt
from fc_pipeline.orchestration.servers.reloading import ask_for_reload
from fc_pipeline.replica import Replica
from fc_pipeline.store import bulk_load, gaps, lease
from fc_pipeline.store.partition_start import stored_start

__all__ = ["hub_event_sensor"]

_log = logging.getLogger(__name__)

_PARTITION_TAG = "dagster/partition"

FOLLOW_PRIORITY = "10"  # the follower goes first in Dagster's queue
SUCCESSOR_LEAD_SECONDS = 15.0
TICK_DEADLINE_SECONDS = 40.0  # of the whole tick: Dagster allows 60 s, and a longer one overlaps the next
MAX_COUNTED_FAILURES = 5  # of followers: two minutes between attempts
FAILED_AFTER_ATTEMPTS = 6  # of an hour, over eight minutes: it is retried, but shown as a gap


@sensor(
    job=MICRO_BATCHES,
    name="hub_event_sensor",
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
    description="Compares the hub's heads with the ledger: launches the run that follows the present hour, and one for "
    "each hour that is missing or has holes, newest first. Dagster looks every five seconds. The cursor lists hours "
    "that are being retried, {} when there are none, and only spaces retries: the ledger is the truth.",
)
@failing_tick()
def hub_event_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> SensorResult | SkipReason:
    """One tick: what is missing now, without what runs already work on."""
    try:
        with replica.open() as opened:
            return _tick(context, replica.names, opened)
    except HubError as error:
        return SkipReason(f"no hub can be read: {error}")


def _tick(context: SensorEvaluationContext, names: Names, replica: Replica) -> SensorResult:
    now = time.time()
    deadline = time.monotonic() + TICK_DEADLINE_SECONDS
    max_runs = max_catch_up_runs(context.instance)
    state, found = asyncio.run(_look(replica, 2 * max_runs, deadline))
    first = first_loaded_hour(names)
    # Dagster knows no partition before the first one that was loaded: such hours wait until the code location is
    # reloaded.
    missing = [hour for hour in found if hour >= first]
    if _is_outdated(replica, first):
        ask_for_reload()
    runs = _living_runs(context.instance, names, replica, now)
    followers = {run.run_id for run in runs if FOLLOW_TAG in run.tags}
    busy = {run.tags.get(_PARTITION_TAG) for run in runs}
    requests: list[RunRequest] = []
    present = state.present_hour
    if (
        present is not None
        and _needs_follower(replica, state, present, followers, now)
        and _may_try_to_follow(context.instance, names, now)
    ):
        requests.append(_follow_request(names, present, replica.settings.follow_seconds, now))
    attempts = _attempts(context.cursor, missing)
    fitting = max_runs - (len(runs) - len(followers))
    failing: list[Hour] = []
    for hour in missing:
        if hour > Hour.of(now):  # Dagster has no such partition yet: the follower reads it as well
            continue
        waits = hour.key in attempts and not attempts[hour.key].is_due(now)
        if hour == present or hour.key in busy or waits:
            continue
        if fitting <= 0:
            break
        requests.append(_catch_up_request(names, hour, replica.settings.hub_urls[0]))
        fitting -= 1
        attempts[hour.key] = Attempt(attempts[hour.key].count + 1 if hour.key in attempts else 1, now)
        if attempts[hour.key].count >= FAILED_AFTER_ATTEMPTS:
            failing.append(hour)
    if failing:
        asyncio.run(_note_failed(replica, failing, deadline))
    return SensorResult(
        run_requests=requests,
        skip_reason=None if requests else SkipReason(_summary(state, missing)),
        cursor=_cursor_of(attempts),
    )


def _is_outdated(replica: Replica, first: Hour) -> bool:
    """Whether partitions begin elsewhere than when this was loaded."""
    with replica.engine.connect() as connection:
        stored = stored_start(connection)
    return stored is not None and stored != first


def _living_runs(instance: DagsterInstance, names: Names, replica: Replica, now: float) -> list[DagsterRun]:
    """The runs in flight: queued, starting or started.

    A run that is "started", but has written nothing for long and holds no lease, is dead: Dagster's default launcher
    does not notice if the code server died with its runs. Such a run does not count.
    """
    with replica.engine.connect() as connection:
        at_work = lease.runs_at_work(connection)
    records = instance.get_run_records(RunsFilter(job_name=names.of(MICRO_BATCHES.name), statuses=list(UNFINISHED)))
    return [
        record.dagster_run
        for record in records
        if record.dagster_run.run_id in at_work or may_just_have_started(record, now)
    ]


async def _look(replica: Replica, max_hours: int, deadline: float) -> tuple[Survey, list[Hour]]:
    """What the hub has and the ledger lacks, and the newest hours of it."""
    async with probe_pool(replica.hub_endpoints, seconds=deadline - time.monotonic()) as hubs:
        # What is read while tables are loaded in bulk goes into the raw log alone.
        outputs = (RAW_LOG,) if bulk_load.is_under_way(replica.engine) else OUTPUTS
        state = await survey(replica, hubs, outputs)
        return state, await state.missing_hours(max_hours)


async def _note_failed(replica: Replica, hours: Iterable[Hour], deadline: float) -> None:
    """Record the missing heights of hours as gaps, until the deadline (monotonic seconds).

    Hours left out are recorded when they are requested the next time.
    """
    try:
        async with probe_pool(replica.hub_endpoints, seconds=deadline - time.monotonic()) as hubs:
            state = await survey(replica, hubs)
            for hour in hours:
                for shard, heights in (await state.missing_heights(hour)).items():
                    gaps.note_failed(replica.engine, shard, heights)
    except HubError as error:  # the tick launches its runs anyway
        _log.warning("failed_hours_not_listed reason=%r", str(error))


def _needs_follower(replica: Replica, state: Survey, present: Hour, followers: Iterable[str], now: float) -> bool:
    """Whether no run follows the present hour, or the follower ends soon and has no successor yet."""
    with replica.engine.connect() as connection:
        holders = lease.holders(connection, partition=present.key)
    if any(run not in {holder.run_id for holder in holders.values()} for run in followers):
        return False
    if any(shard.shard not in holders for shard in state.shards):
        return True
    ends = [holder.planned_end_unix for holder in holders.values() if holder.planned_end_unix is not None]
    return bool(ends) and min(ends) - now < SUCCESSOR_LEAD_SECONDS


def _may_try_to_follow(instance: DagsterInstance, names: Names, now: float) -> bool:
    """Whether a follower may start: at once after one failure, then with exponential backoff."""
    newest = instance.get_run_records(
        RunsFilter(job_name=names.of(MICRO_BATCHES.name), tags={FOLLOW_TAG: "true"}), limit=MAX_COUNTED_FAILURES
    )
    failures = list(takewhile(lambda record: record.dagster_run.status == DagsterRunStatus.FAILURE, newest))
    if len(failures) < 2 or failures[0].end_time is None:
        return True
    return Attempt(len(failures) - 1, failures[0].end_time).is_due(now)


def _follow_request(names: Names, present: Hour, follow_seconds: float, now: float) -> RunRequest:
    """The follower; if our clock is behind, of the newest hour that Dagster has a partition for."""
    tags = {FOLLOW_TAG: "true", "dagster/priority": FOLLOW_PRIORITY}
    hour = min(present, Hour.of(now))
    ahead = (present.start_unix - hour.start_unix) // HOUR_SECONDS
    return _request(
        names, hour, MicroBatchConfig(rebuild=False, follow_seconds=follow_seconds, hours_ahead=ahead), tags
    )


def _catch_up_request(names: Names, hour: Hour, hub_url: str) -> RunRequest:
    return _request(names, hour, MicroBatchConfig(rebuild=False), catch_up_tags(hub_url))


def _request(names: Names, hour: Hour, config: MicroBatchConfig, tags: Mapping[str, str]) -> RunRequest:
    return RunRequest(
        partition_key=hour.key, run_config=RunConfig(ops={names.of(hourly_tables.op.name): config}), tags=dict(tags)
    )


class _Remembered(msgspec.Struct):
    """An attempt as the sensor's page shows it."""

    attempts: int
    last_at: datetime


def _cursor_of(attempts: Mapping[str, Attempt]) -> str:
    remembered = {
        hour: _Remembered(attempt.count, datetime.fromtimestamp(int(attempt.last_unix), UTC))
        for hour, attempt in attempts.items()
    }
    return msgspec.json.encode(remembered).decode()


def _attempts(cursor: str | None, missing: Iterable[Hour]) -> dict[str, Attempt]:
    """The attempts that the cursor remembers, for hours that are still missing."""
    wanted = {hour.key for hour in missing}
    try:
        known = msgspec.json.decode(cursor, type=dict[str, _Remembered]) if cursor else {}
    except msgspec.MsgspecError as error:  # a user edited it, or another release wrote it
        _log.warning("cursor_unreadable reason=%r: every missing hour is asked for again", str(error))
        known = {}
    return {hour: Attempt(one.attempts, one.last_at.timestamp()) for hour, one in known.items() if hour in wanted}


def _summary(state: Survey, missing: Iterable[Hour]) -> str:
    """The reason shown for a tick without runs."""
    warning = clock_warning(state.clock_ahead_seconds)
    heads = ", ".join(f"shard {shard.shard} at height {shard.head_height}" for shard in state.shards)
    lost = sum(hole.last - hole.first + 1 for shard in state.shards for hole in shard.lost)
    waiting = ", ".join(hour.key for hour in missing)
    parts = [warning] if warning else []
    parts += [f"hub: {heads or 'no blocks yet'}"]
    parts += [f"being read or waiting for a retry: {waiting}"] if waiting else []
    parts += [f"{lost} blocks are lost to the feed"] if lost else []
    return "; ".join(parts)
