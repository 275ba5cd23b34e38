"""A network whose live set is proved: rows, leaves that are no rows, and a ledger that says how far it is folded."""

import time
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from fc_pipeline.config.settings import Settings
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.benchmarks.network import NetworkSize, fill_network

__all__ = ["HEIGHT", "SHARDS", "fill_live_set"]

SHARDS: Final = (1, 2)
HEIGHT: Final = 1_000_000
_VERSION: Final = (HEIGHT << 14) - 1

# Of a hundred rows that were ever written so many were removed, by kind; some of the removes were pruned since.
_REMOVES: Final = (
    ("casts", 16, 8, "NULL::text, NULL::timestamptz"),
    ("reactions", 32, 8, "NULL::text, NULL::timestamptz"),
    ("links", 48, 12, "t.type, t.timestamp"),
)
_PRUNED_PERCENT: Final = 20
_COMPACTED_PERCENT: Final = 3
"""Of users: they have a compact state of their follows."""

_COLUMNS: Final = "shard, fid, leaf, link_type, timestamp, version, deleted_at"
_HASH: Final = "substr(sha256(t.hash), 1, 20)"
_IS_IN: Final = "get_byte(t.hash, 3) * 100 / 256 <"


def _leaves() -> Iterator[str]:
    # Every shard has the proofs of all fnames.
    yield (
        f"INSERT INTO pipeline.other_leaves ({_COLUMNS}) SELECT s, p.fid, '\\x07'::bytea || substr("
        "convert_to(p.name, 'UTF8') || decode(repeat('00', 20), 'hex'), 1, 20), NULL, NULL, 1, NULL "
        "FROM username_proofs AS p CROSS JOIN generate_series(1, 2) AS s WHERE p.deleted_at IS NULL"
    )
    for table, type_byte, percent, link in _REMOVES:
        yield (
            f"INSERT INTO pipeline.other_leaves ({_COLUMNS}) SELECT h.shard, t.fid, '\\x{type_byte:02x}'::bytea || "
            f"{_HASH}, {link}, 1, CASE WHEN get_byte(t.hash, 5) * 100 / 256 < {_PRUNED_PERCENT} THEN now() END "
            f"FROM {table} AS t JOIN homes AS h ON h.fid = t.fid WHERE {_IS_IN} {percent}"
        )
    users = f"FROM homes AS h WHERE h.fid % 100 < {_COMPACTED_PERCENT}"
    hash_of_user = "substr(sha256(int8send(h.fid)), 1, 20)"
    yield (
        f"INSERT INTO pipeline.other_leaves ({_COLUMNS}) SELECT h.shard, h.fid, '\\x70'::bytea || {hash_of_user}, "
        f"'follow', NULL, 1, NULL {users}"
    )
    yield (
        "INSERT INTO pipeline.link_compactions (fid, type, timestamp, scoped, target_fids, compacted_at, hash, "
        f"version) SELECT h.fid, 'follow', '2021-01-01', true, '{{}}', '2021-01-01', {hash_of_user}, 1 {users}"
    )


def fill_live_set(settings: Settings, size: NetworkSize) -> dict[str, int | float]:
    """Fill an empty database; gives the rows of each table."""
    filled = fill_network(settings, size, end_unix=int(time.time()))
    engine = sa.create_engine(settings.sqlalchemy_url())
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE homes (fid bigint PRIMARY KEY, shard integer)")
        homes = [(fid, shard_of(fid, len(SHARDS))) for fid in range(1, size.users + 1)]
        connection.execute(
            sa.text("INSERT INTO homes SELECT * FROM unnest(CAST(:fids AS bigint[]), CAST(:shards AS integer[]))"),
            {"fids": [fid for fid, _ in homes], "shards": [shard for _, shard in homes]},
        )
        for statement in _leaves():
            connection.exec_driver_sql(statement.replace("%", "%%"))
        _say_folded(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE pipeline.other_leaves, pipeline.link_compactions")
        connection.exec_driver_sql("CHECKPOINT")
        rows = connection.scalar(sa.text("SELECT count(*) FROM pipeline.other_leaves")) or 0
    engine.dispose()
    return {**filled, "rows_other_leaves": rows}


def _say_folded(connection: sa.Connection) -> None:
    tables = sorted({*DATA_TABLES, "other_leaves", "hub_events"})
    connection.execute(
        sa.text("INSERT INTO pipeline.shards SELECT s, 1, now(), :count FROM unnest(CAST(:shards AS integer[])) AS s"),
        {"count": len(SHARDS), "shards": list(SHARDS)},
    )
    connection.execute(
        sa.text(
            "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
            "confirmed_events, rows_written, last_block_at, events_with_rows, events_written, events_without_rows, "
            "events_filtered, events_quarantined, quarantined, micro_batches, bytes, postgres_seconds) "
            "SELECT s, 1, :height, :tables, '2026-11-01-00:00', 'bench', 1, 1, 1, now(), 1, 1, 0, 0, 0, 0, 1, 1, 1 "
            "FROM unnest(CAST(:shards AS integer[])) AS s"
        ),
        {"height": HEIGHT, "tables": tables, "shards": list(SHARDS)},
    )
