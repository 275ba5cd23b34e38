"""The asset of the target set: the users to index, with reasons; its copy in Redis is checked and corrected."""

from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetSpec,
    MaterializeResult,
    MetadataValue,
    SpecificPartitionsPartitionMapping,
    TableColumn,
    TableRecord,
    TableSchema,
    multi_asset,
)

from fc_pipeline.orchestration.assets.links import links_of
from fc_pipeline.orchestration.assets.specs import OWNERS
from fc_pipeline.orchestration.checks.targets import TARGETS_ASSET
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.targets import adopt_settings, settle
from fc_pipeline.replica import Replica
from fc_pipeline.store.bookkeeping import TARGETS
from fc_pipeline.tables.links import LINKS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.targets import coherence, directory, owner

__all__ = ["ALL_USERS", "TARGETS_ASSET", "TARGETS_SPEC", "target_set"]

ALL_USERS = {"targets": "everybody (FC_TARGETS=all)"}
"""Reported where there is no set."""
SAMPLE_ROWS = 20
_PLAIN = {"fid": "The user", "since": "When it became a target"}
"""Columns whose bare name would be ambiguous in a list."""

# It reads the tables as they stand, so no hour of them makes it out of date ("Unsynced"), and none has to be there
# first. Dagster's default, all hours, makes each run write out the names of all of them: five seconds for five years.
_NO_HOUR = SpecificPartitionsPartitionMapping([])

TARGETS_SPEC = AssetSpec(
    TARGETS_ASSET,
    deps=[AssetDep(table.name, partition_mapping=_NO_HOUR) for table in (LINKS, ON_CHAIN_EVENTS)],
    description=(
        "The users to index with FC_TARGETS=set, each with the reason why: named by the owner, signed up through a "
        "watched app, or followed by one of these. Micro-batches keep it up to date; this recomputes it from the "
        "tables, and puts its copy in Redis right."
    ),
    group_name="targets",
    kinds={"postgres", "redis"},
    owners=OWNERS,
    metadata={
        "dagster/column_schema": TableSchema(
            columns=[
                TableColumn(column.name, str(column.type).lower(), description=column.comment or _PLAIN[column.name])
                for column in TARGETS.columns
            ]
        ),
        "dagster/table_name": f"{TARGETS.schema}.{TARGETS.name}",
        **links_of(
            TARGETS_ASSET,
            step="orchestration/assets/targets.py:target_set",
            target_set="targets/owner.py:adopt",
            rule="targets/rule.py:is_concerned",
        ),
    },
)


@multi_asset(name="compute_targets", specs=[TARGETS_SPEC])
def target_set(context: AssetExecutionContext, replica: ReplicaResource) -> Iterator[MaterializeResult[None]]:
    """Recompute the set from settings and tables, and settle former targets; its check compares Redis."""
    with failing_step(), replica.open(need_hub=False) as opened:
        if opened.targets is None:
            yield _result(ALL_USERS)
            return
        adopted = adopt_settings(opened)
        change = owner.recompute_all(opened.engine)
        coherence.publish(opened.engine, opened.settings.redis_url, change)
        dropped = settle(opened)
        added, removed = (
            [*(getattr(adopted, what) if adopted else ()), *getattr(change, what)] for what in ("added", "removed")
        )
        context.log.info(f"{len(added)} targets added, {len(removed)} removed")
        metadata = {
            **_numbers(opened),
            "added": len(added),
            "removed": len(removed),
            "rows_dropped": sum(dropped.values()),
        }
        yield _result(metadata)


def _result(metadata: dict[str, Any]) -> MaterializeResult[None]:
    return MaterializeResult(asset_key=TARGETS_ASSET, metadata=metadata, value=None)


def _numbers(replica: Replica) -> dict[str, Any]:
    with replica.engine.connect() as connection:
        found = directory.numbers(connection)
        sample = directory.all_targets(connection, directory.target_fids(connection)[:SAMPLE_ROWS])
    columns = [TableColumn(name, "string") for name in ("fid", "username", "reason", "via_fid", "since", "synced_at")]
    records = [TableRecord({one.name: _cell(getattr(target, one.name)) for one in columns}) for target in sample]
    return {
        "dagster/row_count": found.targets,
        **{f"targets_{reason}": count for reason, count in found.by_reason.items()},
        "unsynced": found.unsynced,
        "failing": found.failing,
        "former": found.former,
        "generation": found.generation,
        "sample": MetadataValue.table(records, TableSchema(columns=columns)),
    }


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
