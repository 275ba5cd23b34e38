"""Applies the policy to the rows of former targets: keep or delete; recorded per user."""

import logging
from collections.abc import Sequence
from typing import Final, Literal

import sqlalchemy as sa

from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import Comparison, DataTable
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline.targets import recompute
from fc_pipeline.targets.rule import NOT_TARGET, concerning

__all__ = ["selected_by_rule", "settle_former", "trim_all"]

log = logging.getLogger(__name__)

FIDS_PER_TRANSACTION: Final = 500

_UNSETTLED: Final = sa.text("SELECT fid FROM pipeline.former_targets WHERE settled_at IS NULL ORDER BY fid LIMIT :most")
_UNTRIMMED: Final = sa.text(
    "SELECT 1 FROM pipeline.target_set WHERE mode = 'set' AND trimmed_at IS NULL AND NOT mentions"
)
_NOTE_TRIMMED: Final = sa.text("UPDATE pipeline.target_set SET trimmed_at = now()")
_SETTLE: Final = sa.text(
    "UPDATE pipeline.former_targets SET settled_at = now(), policy = :policy WHERE fid = ANY (:fids)"
)


def selected_by_rule(table: DataTable, *, mentions: bool = True) -> str:
    """The rule in SQL: whether a row `t` of the table concerns a target."""
    return _concerns(
        table, "IN (SELECT fid FROM pipeline.targets)", "&& (SELECT array_agg(fid) FROM pipeline.targets)", mentions
    )


def _concerns(table: DataTable, is_one: str, has_one: str, mentions: bool) -> str:
    conditions: list[str] = []
    for name in concerning(table, mentions=mentions):
        if name == "mentions":
            conditions.append(f"coalesce(t.{name} {has_one}, false)")
        elif table.keyed_fid is not None and name == table.keyed_fid.column:
            conditions.append(f"coalesce({table.keyed_fid.in_sql} {is_one}, false)")
        else:
            conditions.append(f"coalesce(t.{name} {is_one}, false)")
    return f"({' OR '.join(conditions)})"


def settle_former(engine: sa.Engine, policy: Literal["keep", "drop"]) -> dict[str, int]:
    """Apply the policy to all former targets not yet handled; returns the deleted rows, per table."""
    dropped: dict[str, int] = {}
    while True:
        with engine.begin() as connection:
            # As in a fold, the set is locked meanwhile, so a target that is added again starts without rows.
            connection.execute(sa.text(recompute.LOCK_TO_READ))
            fids = list(connection.scalars(_UNSETTLED, {"most": FIDS_PER_TRANSACTION}))
            if not fids:
                return dropped
            if policy == "drop":
                for name, rows in _drop(connection, fids).items():
                    dropped[name] = dropped.get(name, 0) + rows
            connection.execute(_SETTLE, {"policy": policy, "fids": fids})
        log.warning(
            "former_targets_settled policy=%s fids=%d first=%d rows=%d",
            policy,
            len(fids),
            fids[0],
            sum(dropped.values()),
        )


def trim_all(engine: sa.Engine) -> dict[str, int]:
    """Delete the casts kept only for mentions, once mentions no longer count; returns the deleted rows, per table."""
    with engine.begin() as connection:
        connection.execute(sa.text(recompute.LOCK_TO_READ))
        if connection.scalar(_UNTRIMMED) is None:
            return {}
        dropped = {"casts": _delete(connection, CASTS, "true", (), mentions=False)}
        connection.execute(_NOTE_TRIMMED)
    log.warning("mentions_dropped rows=%d", dropped["casts"])
    return dropped


def _drop(connection: sa.Connection, fids: Sequence[int]) -> dict[str, int]:
    mentions = bool(connection.scalar(sa.text("SELECT mentions FROM pipeline.target_set")))
    dropped: dict[str, int] = {}
    for table in DATA_TABLES.values():
        concerned = _concerns(table, "= ANY (:fids)", "&& CAST(:fids AS bigint[])", True)
        dropped[table.name] = _delete(connection, table, concerned, fids, mentions=mentions)
    return {name: rows for name, rows in dropped.items() if rows}


def _delete(connection: sa.Connection, table: DataTable, concerned: str, fids: Sequence[int], *, mentions: bool) -> int:
    """Delete the rows that concern these FIDs and no target, but for what decides over rows that may still come."""
    where = f"{concerned} AND NOT {selected_by_rule(table, mentions=mentions)}"
    values = {"fids": list(fids)} if fids else {}
    if table.comparison is Comparison.NAMES:
        kept = {*table.key, *table.order, "deleted_at", "deleted_reason"}
        blank = ", ".join(f"{name} = NULL" for name in table.names if name not in kept)
        update = (
            f"UPDATE {table.qualified} AS t SET {blank}, deleted_at = timestamp, deleted_reason = '{NOT_TARGET}' "
            f"WHERE t.deleted_at IS NULL AND {where}"
        )
        return connection.execute(sa.text(update), values).rowcount
    if table.decisive_tombstones is not None:
        where += f" AND t.deleted_reason IS DISTINCT FROM '{table.decisive_tombstones}'"
    return connection.execute(sa.text(f"DELETE FROM {table.qualified} AS t WHERE {where}"), values).rowcount
