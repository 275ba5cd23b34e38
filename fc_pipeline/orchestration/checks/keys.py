"""Checks of every table: no key twice, none null."""

from collections.abc import Iterable, Iterator

from dagster import AssetCheckExecutionContext, AssetCheckResult, multi_asset_check

from fc_pipeline.orchestration.checks.wording import check_spec
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.names import bare
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.replica import Replica
from fc_pipeline.status import health
from fc_pipeline.tables.registry import ALL_TABLES, DATA_TABLES

__all__ = ["UNIQUE_KEYS", "evaluate_keys", "key_checks"]

UNIQUE_KEYS = "unique_keys"


def _remedy(name: str) -> str:
    made = "made with its key and filled from the raw log" if name in DATA_TABLES else "made with its key"
    return (
        f"`DROP TABLE {name} CASCADE`, then `fc-pipeline sync`: it is {made}. Then `fc-pipeline backfill --all`, for "
        "what only snapshots had brought."
    )


@multi_asset_check(
    name="key_checks",
    specs=[
        check_spec(
            table.name,
            UNIQUE_KEYS,
            f"No duplicate or null ({', '.join(table.key)}) in the whole table. Proved by the primary key; only a "
            "table that somebody made without it is read row by row.",
            _remedy(table.name),
        )
        for table in ALL_TABLES.values()
    ],
    can_subset=True,
)
def key_checks(context: AssetCheckExecutionContext, replica: ReplicaResource) -> Iterable[AssetCheckResult]:
    """Evaluate the selected tables now."""
    with failing_step(), replica.open(need_hub=False) as opened:
        tables = sorted(bare(key.asset_key) for key in context.selected_asset_check_keys)
        yield from evaluate_keys(opened, tables)


def evaluate_keys(replica: Replica, tables: Iterable[str]) -> Iterator[AssetCheckResult]:
    """Proved by the primary key; only a table that was created without it is read row by row."""
    for name in tables:
        proved = health.has_unique_key(replica, ALL_TABLES[name])
        bad_rows = 0 if proved else health.null_or_duplicate_keys(replica, ALL_TABLES[name])
        yield AssetCheckResult(
            asset_key=name,
            check_name=UNIQUE_KEYS,
            passed=bad_rows == 0,
            description=f"{bad_rows:,} rows share their key with another one, or have none" if bad_rows else None,
            metadata={"proved_by_primary_key": proved, "bad_rows": bad_rows},
        )
