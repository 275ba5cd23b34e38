"""Every metric: its name, what it says, and its labels. The dashboard and the rules below `deploy/` go by these."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

__all__ = ["FAMILIES", "Family", "Sample"]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric. A counter only grows as long as the replica is the same, and its name ends in `_total`."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"

    def of(self, value: float, *labels: object) -> "Sample":
        """One value of it, with the values of its labels in order."""
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {labels}")
        return Sample(self, tuple(map(str, labels)), float(value))


class Sample(NamedTuple):
    """One value of a metric at one moment."""

    family: Family
    labels: tuple[str, ...]
    value: float


SOURCE_UP: Final = Family(
    "fc_source_up", "1 where the source of metrics was read lately, 0 where it fails", ("source",)
)
SOURCE_AGE: Final = Family("fc_source_age_seconds", "Since the source was last read in full", ("source",))

SHARD_ORIGIN: Final = Family("fc_shard_origin_height", "First height that the ledger must cover", ("shard",))
SHARD_CURSOR: Final = Family("fc_shard_cursor_height", "Highest height folded", ("shard",))
SHARD_LAG: Final = Family("fc_shard_lag_seconds", "Age of the last folded block", ("shard",))
SHARD_HOLES: Final = Family("fc_shard_hole_blocks", "Heights missing between origin and cursor", ("shard",))
GAP_BLOCKS: Final = Family(
    "fc_open_gap_blocks", "Heights that the feed lost and nothing has healed", ("shard", "reason")
)
EVENTS: Final = Family("fc_events_total", "Events folded, by what became of them", ("outcome",), "counter")
EVENT_BYTES: Final = Family("fc_event_bytes_total", "Size of the events as the hub sent them", (), "counter")
BATCHES: Final = Family("fc_micro_batches_total", "Transactions that folded events", (), "counter")
BATCH_SECONDS: Final = Family("fc_micro_batch_seconds_total", "Time that these transactions took", (), "counter")
ROWS: Final = Family("fc_rows_total", "Rows that folding wrote to a table", ("table", "change"), "counter")
QUARANTINE: Final = Family("fc_quarantine_open", "Records set aside that nothing has resolved", ("reason",))
DRIFT: Final = Family("fc_drift_rows", "Rows that an audit had to correct within the last day", ("table", "kind"))
LEASE_AGE: Final = Family(
    "fc_lease_heartbeat_age_seconds", "Since who may write an hour of a shard last said so", ("shard", "hour", "holder")
)
TABLE_ROWS: Final = Family("fc_table_rows", "Rows, tombstones included, as Postgres estimates them", ("table",))
TABLE_BYTES: Final = Family("fc_table_bytes", "Size of a table with its indexes", ("table",))
DATABASE_BYTES: Final = Family("fc_database_bytes", "Size of the replica's database")
SNAPSHOT_FIDS: Final = Family(
    "fc_snapshot_fids", "FIDs of which there is a snapshot, folded or waiting to be", ("state",)
)
BACKFILL_DONE: Final = Family("fc_backfill_fids_done", "FIDs read in the rounds of snapshots that are under way")
BACKFILL_EXPECTED: Final = Family("fc_backfill_fids_expected", "FIDs that these rounds have, as far as is known")
BACKFILL_ETA: Final = Family("fc_backfill_eta_seconds", "Until these rounds are done, at their pace so far")
TARGETS: Final = Family("fc_targets", "FIDs of the target set", ("reason",))
TARGETS_UNSYNCED: Final = Family("fc_targets_unsynced", "Targets whose history is not complete")
TARGETS_FAILING: Final = Family("fc_targets_failing", "Of these, those that were asked for in vain")
REDIS_UP: Final = Family("fc_redis_up", "1 where the Redis with the copy of the target set answers, 0 where not")
CACHE_DIFFERENCES: Final = Family(
    "fc_target_cache_differences", "FIDs by which the copy of the target set in Redis differs", ("kind",)
)

LAKE_BYTES: Final = Family("fc_lake_bytes", "Size of the raw log")
LAKE_FILES: Final = Family("fc_lake_files", "Files of the raw log")

HUB_UP: Final = Family("fc_hub_up", "1 where a hub answers, 0 where it does not", ("hub",))
HUB_ANSWER: Final = Family("fc_hub_answer_seconds", "How long its last answer took", ("hub",))
HUB_HEAD: Final = Family("fc_hub_head_height", "Its highest block", ("hub", "shard"))
HUB_BUDGET: Final = Family("fc_hub_budget_requests_per_second", "Requests per second allowed to a hub", ("hub",))
HUB_PAUSED: Final = Family("fc_hub_paused_seconds", "How long no request goes to a hub, which asked for it", ("hub",))
HUB_REQUESTS: Final = Family("fc_hub_requests_total", "Requests that runs have sent to a hub", ("hub",), "counter")
HUB_FAILURES: Final = Family("fc_hub_failures_total", "Of these, those without a usable answer", ("hub",), "counter")

DAGSTER_RUNS: Final = Family("fc_dagster_runs", "Runs that Dagster knows", ("status",))
TICK_AGE: Final = Family("fc_dagster_tick_age_seconds", "Since a sensor or schedule last ticked", ("name",))
TICK_FAILED: Final = Family("fc_dagster_tick_failed", "1 where its last tick failed", ("name",))
DAEMON_AGE: Final = Family("fc_dagster_daemon_age_seconds", "Since a daemon's last heartbeat", ("daemon",))
CHECK_FAILED: Final = Family("fc_check_failed", "1 where a check's last result is red or yellow", ("asset", "check"))

FAMILIES: Final[tuple[Family, ...]] = tuple(
    {family.name: family for family in list(globals().values()) if isinstance(family, Family)}.values()
)
"""All of them, in the order above."""
