"""Does the replica progress while the hub does? Evaluated by the run that follows, else by a sensor."""

from dagster import AssetCheckResult

from fc_pipeline.errors import HubError
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.orchestration.checks.wording import check_spec, table_of, without_hub
from fc_pipeline.replica import Replica
from fc_pipeline.status.stall import STALLED_AFTER_SECONDS, ShardProgress, Stall, detect_stall

__all__ = ["STALL", "STALL_SPEC", "evaluate_stall", "result_of"]

STALL = "no_standstill"

STALL_SPEC = check_spec(
    RAW_LOG,
    STALL,
    f"No shard's cursor has stood still for more than {STALLED_AFTER_SECONDS:.0f} s while the hub's head moved, and no "
    "shard of the hub is silent while another moves. Yellow: no hub answers.",
    "look whether a run of micro_batches is under way and hub_event_sensor is on; terminate a run that commits "
    "nothing, another takes over. A silent shard is the hub's fault: name another hub in FC_HUB_URLS.",
)


def evaluate_stall(replica: Replica) -> AssetCheckResult:
    """The ledger's last commits compared with the hub's heads, now."""
    try:
        return result_of(detect_stall(replica))
    except HubError as error:
        return without_hub(STALL, error)


def result_of(found: Stall) -> AssetCheckResult:
    """What was found, as the result of the check."""
    now = found.now_unix
    numbers = {name: value for shard in found.shards for name, value in _numbers(shard, now).items()}
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=STALL,
        passed=not found.problems,
        description=" ".join([*found.problems, found.advice]),
        metadata={
            **numbers,
            "by_shard": table_of(
                ({"shard": shard.shard, **_of_shard(shard, now)} for shard in found.shards),
                ("shard", "head_height", "head_age_seconds", "cursor_height", "idle_seconds"),
            ),
        },
    )


def _of_shard(shard: ShardProgress, now: float) -> dict[str, float | int | None]:
    return {
        "head_height": shard.head_height,
        "head_age_seconds": None if shard.head_unix is None else round(now - shard.head_unix, 1),
        "cursor_height": shard.cursor_height,
        "idle_seconds": None if shard.idle_seconds is None else round(shard.idle_seconds, 1),
    }


def _numbers(shard: ShardProgress, now: float) -> dict[str, float | int]:
    """A shard's numbers, each under its own name, for the UI to plot."""
    return {f"{name}_shard_{shard.shard}": value for name, value in _of_shard(shard, now).items() if value is not None}
