"""Attributes messages to apps by the keys that signed them, where a key comes, changes or goes after the message."""

from functools import cache

from fc_pipeline.store import derived
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.message import APP_FID
from fc_pipeline.tables.registry import ATTRIBUTED_TABLES
from fc_pipeline.tables.signers import KEYS

__all__ = ["after"]


@cache
def after(one: DerivedTable) -> tuple[str, ...]:
    """What has to follow the derivation of the staged scopes of a table: of keys, the apps of their users' messages."""
    if one is not KEYS:
        return ()
    return (_hold_unattributed(CASTS), *(_attribute(table) for table in ATTRIBUTED_TABLES))


def _hold_unattributed(table: DataTable) -> str:
    """Wait for who is changing rows that are to be attributed, by a statement of its own, before these are looked for.

    A fold of another shard touches a cast when its root changes (store.change_stamps). An update that had found the
    cast as it was before would wait for that, and then leave it as it is: it lies elsewhere by then.
    """
    return (
        f"SELECT count(*) FROM (SELECT DISTINCT fid FROM {derived.scope_name(KEYS)}) AS f CROSS JOIN LATERAL "
        f"(SELECT FROM {table.qualified} AS m WHERE m.fid = f.fid AND m.signer IS NOT NULL "
        f"AND m.app_fid IS DISTINCT FROM {APP_FID.value_of('m')} OFFSET 0 FOR UPDATE OF m) AS held"
    )


def _attribute(table: DataTable) -> str:
    """Set `app_fid` where it is not as the keys say, null where they say nothing; reads the users' rows by index.

    The rows are updated where they were found: a join by their key would be planned as a walk through the whole table
    where the server believes that to be empty.
    """
    return (
        f"UPDATE {table.qualified} AS t SET app_fid = w.known FROM (SELECT r.*, {APP_FID.value_of('r')} AS known "
        f"FROM (SELECT DISTINCT fid FROM {derived.scope_name(KEYS)}) AS f CROSS JOIN LATERAL (SELECT m.ctid AS place, "
        f"m.* FROM {table.qualified} AS m WHERE m.fid = f.fid AND m.signer IS NOT NULL OFFSET 0) AS r) AS w "
        f"WHERE w.app_fid IS DISTINCT FROM w.known AND {table.is_found_at('t', 'w')}"
    )
