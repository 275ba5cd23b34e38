"""Checks of every table: no key twice, none null."""

from collections.abc import Iterable, Iterator

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSpec, multi_asset_check

from fc_pipeline.ingest import health
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.partitions import HOURS
from fc_pipeline.resources import ReplicaResource
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["judge_keys", "key_checks"]

CHECK = "unique_keys"


@multi_asset_check(
    name="key_checks",
    specs=[
        AssetCheckSpec(
            CHECK,
            asset=table.name,
            description=f"No duplicate or null ({', '.join(table.key)}) in the whole table, once the hour is written.",
            partitions_def=HOURS,
        )
        for table in DATA_TABLES.values()
    ],
    can_subset=True,
)
def key_checks(context: AssetCheckExecutionContext, replica: ReplicaResource) -> Iterable[AssetCheckResult]:
    """Judge the selected tables again; every run of the hourly assets does so for the tables it wrote."""
    with replica.open(need_hub=False) as opened:
        tables = sorted(key.asset_key.to_user_string() for key in context.selected_asset_check_keys)
        yield from judge_keys(opened, tables)


def judge_keys(replica: Replica, tables: Iterable[str]) -> Iterator[AssetCheckResult]:
    """Proved by the primary key; only a table that somebody made without it is read row by row."""
    for name in tables:
        proved = health.has_unique_key(replica, DATA_TABLES[name])
        bad_rows = 0 if proved else health.null_or_duplicate_keys(replica, DATA_TABLES[name])
        yield AssetCheckResult(
            asset_key=name,
            check_name=CHECK,
            passed=bad_rows == 0,
            metadata={"proved_by_primary_key": proved, "bad_rows": bad_rows},
        )
