"""What applications read, below its tables in the lineage: tables of counts, and each group of functions and views.

Nothing is to be materialised: counts are kept by the transactions that change what they count, functions and views read
the tables when they are called.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from dagster import AssetSpec, MetadataValue, TableColumn, TableSchema

from fc_pipeline.orchestration.assets.code_references import code_references
from fc_pipeline.orchestration.assets.specs import OWNERS
from fc_pipeline.serving.objects import ServedObject, served_objects
from fc_pipeline.tables.counts import COUNT_TABLES, CountTable
from fc_pipeline.tables.registry import ALL_TABLES

__all__ = ["SERVING_SPECS"]

_GROUP: Final = "serving"
_TABLE: Final = re.compile(r"\bpublic\.([a-z_]+)\b")


def _counts(table: CountTable) -> AssetSpec:
    columns = [(table.key.name, table.key.type.postgres, table.key.description)]
    columns += [(one.name, "bigint", one.description) for one in table.counts]
    return AssetSpec(
        table.name,
        deps=sorted({one.source.name for one in table.counts}),
        group_name=_GROUP,
        kinds={"postgres", "gold"},
        owners=OWNERS,
        description=f"{table.description}\n\nKept by the transactions that change what it counts.\n\n"
        f"```sql\n{table.sql_example}\n```",
        metadata={
            "dagster/column_schema": TableSchema(
                [TableColumn(name, kind, description=text) for name, kind, text in columns]
            ),
            **code_references({"columns and rule": f"tables/counts.py:{table.name.upper()}"}),
        },
    )


def _asset_of(one: ServedObject) -> str:
    """Its schema; in `api`, which has most, its schema and group."""
    return f"{one.schema}_{one.group.replace(' ', '_')}" if one.schema == "api" else one.schema


def _served(key: str, objects: Sequence[ServedObject]) -> AssetSpec:
    known = {*ALL_TABLES, *(table.name for table in COUNT_TABLES)}
    tables = {name for one in objects for name in _TABLE.findall(one.create)} & known
    text = [f"- `{one.name}`: {one.description}" for one in objects]
    example = next((one.example for one in objects if one.example), "")
    return AssetSpec(
        key,
        deps=sorted(tables or ALL_TABLES),
        group_name=_GROUP,
        kinds={"postgres", "view"},
        owners=OWNERS,
        code_version=hashlib.sha256("\0".join(one.create for one in objects).encode()).hexdigest()[:12],
        description="\n".join(text) + (f"\n\n```sql\n{example}\n```" if example else ""),
        metadata={
            "made_of": MetadataValue.json([one.name for one in objects]),
            **code_references({one.name: f"serving/sql/{one.file}:{one.name}" for one in objects}),
        },
    )


def _by_asset() -> dict[str, list[ServedObject]]:
    found: dict[str, list[ServedObject]] = {}
    for one in served_objects():
        found.setdefault(_asset_of(one), []).append(one)
    return found


SERVING_SPECS: Final = (*map(_counts, COUNT_TABLES), *(_served(key, objects) for key, objects in _by_asset().items()))
"""One spec each."""
