"""Applies the policy to the rows of former targets: keep or delete; recorded per user."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import sqlalchemy as sa

from fc_pipeline.store import attribution, derived, touched_fids
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import Comparison, DataTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DERIVED_TABLES, LISTED_TABLES
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
_DROP_LEAVES: Final = sa.text(f"DELETE FROM {OTHER_LEAVES.qualified} WHERE fid = ANY (:fids)")
_NOTE_FIDS: Final = sa.text(touched_fids.note_everywhere("SELECT unnest(CAST(:fids AS bigint[])) AS fid"))
_SETTLE: Final = sa.text(
    "UPDATE pipeline.former_targets SET settled_at = now(), policy = :policy WHERE fid = ANY (:fids)"
)


def selected_by_rule(table: DataTable, *, mentions: bool = True) -> str:
    """The rule in SQL: whether a row `t` of the table concerns a target, or is kept for all users."""
    if not table.concerns:
        return "true"
    concerns = _concerns(
        table, "IN (SELECT fid FROM pipeline.targets)", "&& (SELECT array_agg(fid) FROM pipeline.targets)", mentions
    )
    if table.kept_for_all is None:
        return concerns
    column, value = table.kept_for_all
    return f"({concerns} OR t.{column} = '{value}')"


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
        log.info(
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
        dropped = _delete(connection, {CASTS: "true"}, (), mentions=False)
        connection.execute(_NOTE_TRIMMED)
    log.warning("mentions_dropped rows=%d", dropped.get(CASTS.name, 0))
    return dropped


def _drop(connection: sa.Connection, fids: Sequence[int]) -> dict[str, int]:
    mentions = bool(connection.scalar(sa.text("SELECT mentions FROM pipeline.target_set")))
    tables = [table for table in (*LISTED_TABLES.values(), FID_ACTIVITY) if table.concerns]
    concerned = {
        table: _concerns(table, "= ANY (:fids)", "&& CAST(:fids AS bigint[])", mentions=True) for table in tables
    }
    dropped = _delete(connection, concerned, fids, mentions=mentions)
    for statement in (_DROP_LEAVES, _NOTE_FIDS):
        connection.execute(statement, {"fids": list(fids)})
    return dropped


def _delete(
    connection: sa.Connection, concerned: Mapping[DataTable, str], fids: Sequence[int], *, mentions: bool
) -> dict[str, int]:
    """Delete the rows that concern these FIDs and no target, and what is derived from them; how many, per table."""
    wheres = {table: _where(table, condition, mentions=mentions) for table, condition in concerned.items()}
    values = {"fids": list(fids)} if fids else {}
    affected = [one for one in DERIVED_TABLES if not {table.name for table in wheres}.isdisjoint(one.sources)]
    for one in affected:
        connection.exec_driver_sql(derived.create_scope(one))
        for statement in derived.before(one):
            connection.exec_driver_sql(statement)
        going = [
            (table.name, f"(SELECT t.* FROM {table.qualified} AS t WHERE {where})")
            for table, where in wheres.items()
            if table.name in one.sources
        ]
        connection.execute(sa.text(derived.stage_touched(one, going)), values)
    dropped = {
        table.name: connection.execute(sa.text(_deletion(table, where)), values).rowcount
        for table, where in wheres.items()
    }
    for one in affected:
        dropped[one.name] = connection.exec_driver_sql(derived.derive_exactly(one)).one().deleted
        for statement in attribution.after(one):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(derived.empty_scope(one))
    return {name: rows for name, rows in dropped.items() if rows}


def _where(table: DataTable, concerned: str, *, mentions: bool) -> str:
    """Which rows go: not those that decide over rows that may still come."""
    where = f"{concerned} AND NOT {selected_by_rule(table, mentions=mentions)}"
    if table.comparison is Comparison.NAMES:
        where += " AND t.deleted_at IS NULL"
    if table.decisive_tombstones is not None:
        where += f" AND t.deleted_reason IS DISTINCT FROM '{table.decisive_tombstones}'"
    return where


def _deletion(table: DataTable, where: str) -> str:
    if table.comparison is not Comparison.NAMES:
        return f"DELETE FROM {table.qualified} AS t WHERE {where}"
    kept = {*table.key, *table.order, "deleted_at", "deleted_reason"}
    blank = ", ".join(f"{name} = NULL" for name in table.names if name not in kept)
    return (
        f"UPDATE {table.qualified} AS t SET {blank}, deleted_at = timestamp, deleted_reason = '{NOT_TARGET}' "
        f"WHERE {where}"
    )
