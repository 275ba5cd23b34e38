"""Single records damaged by hand, one at a time, and put right again."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

import sqlalchemy as sa

from fc_pipeline.live_set.leaves import home_shard
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.benchmarks.proof_network import SHARDS

__all__ = ["KINDS", "Damage", "damaged", "drawn"]

_ROWS: Final = ("casts", "reactions", "links", "verifications", "user_data")
_ROWS_OF_ANY_FID: Final = ("casts", "verifications")
"""Whose keys no other user has."""
_HASH_FORGED: Final = "hash = set_byte(hash, 19, get_byte(hash, 19) # 1)"
_LEAF_FORGED: Final = "leaf = set_byte(leaf, 20, get_byte(leaf, 20) # 1)"
_CAST_REMOVE, _REACTION_REMOVE, _LINK_REMOVE, _COMPACT_STATE = 16, 32, 48, 112

KINDS: Final = (
    "row deleted",
    "row invented",
    "hash changed",
    "remove forgotten",
    "compact state too old",
    "fid swapped",
)


@dataclass(frozen=True)
class Damage:
    """What is done to the row of a table at `place`; `fids` are those whose leaves differ then, on one shard."""

    kind: str
    table: DataTable
    place: str
    shard: int
    fids: frozenset[int]
    other_fid: int


def drawn(connection: sa.Connection, chance: Random, kind: str, users: int) -> Damage:
    """A row for a kind of damage. Raises RuntimeError where there is none."""
    if kind == "remove forgotten":
        table, type_byte = OTHER_LEAVES, chance.choice((_CAST_REMOVE, _REACTION_REMOVE, _LINK_REMOVE))
    elif kind == "compact state too old":
        table, type_byte = OTHER_LEAVES, _COMPACT_STATE
    else:
        table, type_byte = DATA_TABLES[chance.choice(_ROWS_OF_ANY_FID if kind == "fid swapped" else _ROWS)], None
    place, fid, shard = _row(connection, chance, table, type_byte)
    other = next(
        other
        for other in iter(lambda: chance.randrange(1, users + 1), None)
        if other != fid and home_shard(other, len(SHARDS)) == shard
    )
    return Damage(kind, table, place, shard, frozenset({fid, other} if kind == "fid swapped" else {fid}), other)


def _row(connection: sa.Connection, chance: Random, table: DataTable, type_byte: int | None) -> tuple[str, int, int]:
    shard = "t.shard" if table.says_its_shard else "NULL"
    is_wanted = "true" if type_byte is None else f"get_byte(t.leaf, 0) = {type_byte}"
    for percent in (0.05, 0.5, 5, 100):
        found = connection.execute(
            sa.text(
                f"SELECT t.ctid::text AS place, t.fid, {shard} AS shard FROM {table.qualified} AS t "
                f"TABLESAMPLE SYSTEM ({percent}) REPEATABLE ({chance.randrange(1 << 30)}) "
                f"WHERE t.deleted_at IS NULL AND {is_wanted} ORDER BY t.ctid LIMIT 200"
            )
        ).all()
        if found:
            one = chance.choice(found)
            return one.place, one.fid, one.shard or home_shard(one.fid, len(SHARDS))
    raise RuntimeError(f"{table.name} has no row for a damage")


@contextmanager
def damaged(engine: sa.Engine, damage: Damage) -> Generator[None]:
    """The tables with this damage, of which a note says whose digests are old; as they were at the end."""
    table, names = damage.table.qualified, ", ".join(damage.table.names)
    with engine.begin() as connection:
        _without_triggers(connection)
        connection.exec_driver_sql(
            f"CREATE TABLE bench_kept AS SELECT {names} FROM {table} WHERE ctid = '{damage.place}'::tid"
        )
        left = connection.execute(sa.text(_statement(damage, names))).scalar()
        _note(connection, damage)
    try:
        yield
    finally:
        with engine.begin() as connection:
            _without_triggers(connection)
            if damage.kind == "row invented":
                connection.exec_driver_sql(f"DELETE FROM {table} WHERE ctid = '{left}'::tid")
            else:
                if left is not None:
                    connection.exec_driver_sql(f"DELETE FROM {table} WHERE ctid = '{left}'::tid")
                connection.exec_driver_sql(f"INSERT INTO {table} ({names}) SELECT {names} FROM bench_kept")
            connection.exec_driver_sql("DROP TABLE bench_kept")
            connection.exec_driver_sql("DELETE FROM pipeline.touched_fids")


def _statement(damage: Damage, names: str) -> str:
    """Gives the place of what is there afterwards; none where nothing is left."""
    table, here = damage.table.qualified, f"WHERE ctid = '{damage.place}'::tid"
    match damage.kind:
        case "row deleted":
            return f"WITH gone AS (DELETE FROM {table} {here}) SELECT NULL::text"
        case "remove forgotten":
            return f"UPDATE {table} SET deleted_at = now() {here} RETURNING ctid::text"
        case "hash changed":
            return f"UPDATE {table} SET {_HASH_FORGED} {here} RETURNING ctid::text"
        case "compact state too old":
            return f"UPDATE {table} SET {_LEAF_FORGED} {here} RETURNING ctid::text"
        case "fid swapped":
            return f"UPDATE {table} SET fid = {damage.other_fid} {here} RETURNING ctid::text"
        case _:
            return (
                f"INSERT INTO {table} ({names}) SELECT {_invented(damage.table)} FROM bench_kept RETURNING ctid::text"
            )


_FREE_KEYS: Final = {
    "casts": {"hash": "set_byte(hash, 19, get_byte(hash, 19) # 1)"},
    "reactions": {"target": "target || '\\x00'"},
    "links": {"type": "'invented'"},
    "verifications": {"address": "address || '0'"},
    "user_data": {"type": "'invented'"},
}


def _invented(table: DataTable) -> str:
    """The kept row as another one: with a free key, and a hash of its own."""
    changed = {"hash": "set_byte(hash, 18, get_byte(hash, 18) # 1)", **_FREE_KEYS[table.name]}
    return ", ".join(changed.get(name, name) for name in table.names)


def _without_triggers(connection: sa.Connection) -> None:
    """What follows from the rows is not proved here."""
    connection.exec_driver_sql("SET LOCAL session_replication_role = replica")


def _note(connection: sa.Connection, damage: Damage) -> None:
    connection.execute(
        sa.text("INSERT INTO pipeline.touched_fids (shard, fids) VALUES (:shard, :fids)"),
        {"shard": damage.shard, "fids": sorted(damage.fids)},
    )
