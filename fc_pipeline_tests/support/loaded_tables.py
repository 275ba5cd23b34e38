"""What tables have, but for what only the feed knows of a row."""

from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline_tests.support.workbench import Workbench

__all__ = ["live_rows"]

UNKNOWN_TO_FILES = {"version", "block_time", "network_time", "updated_at", "changed_at", "change_id", "read_at"}
"""When a message's block was, no file says; what versions are, each source says for itself."""


def live_rows(bench: Workbench) -> dict[str, list[str]]:
    """The live rows of every table as text, and all counts."""
    found: dict[str, list[str]] = {}
    for name, table in ALL_TABLES.items():
        if name == "fid_activity":
            continue
        columns = ", ".join(column for column in table.names if column not in UNKNOWN_TO_FILES)
        query = f"SELECT ROW({columns})::text FROM {table.qualified} WHERE deleted_at IS NULL ORDER BY 1"
        found[name] = [row[0] for row in bench.rows(query)]
    for name in ("cast_counts", "user_counts"):
        found[name] = [row[0] for row in bench.rows(f"SELECT t::text FROM {name} AS t ORDER BY 1")]
    return found
