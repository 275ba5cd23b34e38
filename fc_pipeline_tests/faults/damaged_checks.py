"""What turns each check red (or yellow, if it knows no red) in a replica of one quiet log, and how that is healed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline_tests.support.pipeline import Pipeline
from fc_pipeline_tests.support.served_in_part import JUDGED


@dataclass(frozen=True)
class Damage:
    """Of one check: what does it, and what undoes it; `severity` is what the check says meanwhile."""

    asset: str
    check: str
    do: Callable[[Pipeline], None]
    undo: Callable[[Pipeline], None]
    severity: str = "ERROR"

    @property
    def title(self) -> str:
        """As alerts name the check."""
        return f"check {self.check} of {self.asset}"

    @property
    def word(self) -> str:
        """As alerts call the severity."""
        return "RED" if self.severity == "ERROR" else "YELLOW"


def settle(pipeline: Pipeline) -> None:
    """Have all been committed an hour ago: a hole is only red where nobody is at work."""
    execute(pipeline, "UPDATE pipeline.coverage SET committed_at = committed_at - interval '1 hour'")


def execute(pipeline: Pipeline, *statements: str) -> None:
    with pipeline.bench.replica.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def _sql(asset: str, check: str, do: tuple[str, ...], undo: tuple[str, ...], *, severity: str = "ERROR") -> Damage:
    return Damage(asset, check, lambda on: execute(on, *do), lambda on: execute(on, *undo), severity)


def _hide_file(pipeline: Pipeline) -> None:
    (file,) = pipeline.bench.replica.log.files(JUDGED)
    path = Path(pipeline.bench.replica.settings.lake_uri) / file.path
    path.rename(path.with_name(path.name + _HIDDEN))


def _show_file(pipeline: Pipeline) -> None:
    (path,) = Path(pipeline.bench.replica.settings.lake_uri).rglob(f"*{_HIDDEN}")
    path.rename(path.with_name(path.name.removesuffix(_HIDDEN)))


_HIDDEN = ".hidden"
_OLDEST = "partition = (SELECT min(partition) FROM pipeline.coverage)"
_LINKS = f"partition = '{JUDGED.key}' AND event_type = 'LINK_ADD'"
_QUARANTINED = (
    "INSERT INTO pipeline.quarantine (shard, event_id, reason, detail, raw, raw_sha256) "
    "SELECT shard, (from_height << 14) + n, '{reason}', 'd', '', '{reason}' "
    "FROM pipeline.coverage, generate_series(1, {count}) AS n "
    f"WHERE partition = '{JUDGED.key}'"
)

DAMAGES = (
    _sql(
        RAW_LOG,
        "coverage_without_holes",
        (f"UPDATE pipeline.coverage SET from_height = from_height + 1 WHERE {_OLDEST}",),
        (f"UPDATE pipeline.coverage SET from_height = from_height - 1 WHERE {_OLDEST}",),
    ),
    _sql(
        RAW_LOG,
        "blocks_have_their_events",
        (f"UPDATE pipeline.coverage SET events = events + 1 WHERE {_OLDEST}",),
        (f"UPDATE pipeline.coverage SET events = events - 1 WHERE {_OLDEST}",),
    ),
    Damage(RAW_LOG, "files_as_written", _hide_file, _show_file),
    _sql(
        RAW_LOG,
        "quarantine_share",
        (_QUARANTINED.format(reason="undecodable", count=5),),
        ("DELETE FROM pipeline.quarantine WHERE reason = 'undecodable'",),
    ),
    _sql(
        RAW_LOG,
        "no_unknown_types",
        (_QUARANTINED.format(reason="unknown_type", count=1),),
        ("DELETE FROM pipeline.quarantine WHERE reason = 'unknown_type'",),
        severity="WARN",
    ),
    _sql(
        RAW_LOG,
        "no_open_gaps",
        ("INSERT INTO pipeline.gaps VALUES (1, 5, 9, 'outage', now() - interval '1 hour')",),
        ("UPDATE pipeline.gaps SET healed_at = now(), healed_by = 'test', healed_how = 'feed'",),
    ),
    _sql(
        RAW_LOG,
        "usual_volume",
        (
            f"UPDATE pipeline.hour_events SET events = events / 2 WHERE {_LINKS}",
            "INSERT INTO pipeline.hour_events (partition, shard, event_type, events) "
            f"SELECT partition, shard, 'MERGE_FAILURE', events FROM pipeline.hour_events WHERE {_LINKS}",
        ),
        (
            f"UPDATE pipeline.hour_events SET events = events * 2 WHERE {_LINKS}",
            "DELETE FROM pipeline.hour_events WHERE event_type = 'MERGE_FAILURE'",
        ),
    ),
    _sql(
        "casts",
        "unique_keys",
        (
            "ALTER TABLE casts RENAME TO casts_kept",
            "CREATE TABLE casts AS TABLE casts_kept",
            "INSERT INTO casts SELECT * FROM casts_kept ORDER BY hash LIMIT 1",
        ),
        ("DROP TABLE casts CASCADE", "ALTER TABLE casts_kept RENAME TO casts"),
    ),
    _sql(
        "links",
        "rows_match_log",
        ("UPDATE links SET hash = hash || '\\x00'",),
        ("UPDATE links SET hash = substring(hash FROM 1 FOR length(hash) - 1)",),
    ),
    _sql(
        "user_counts",
        "counts_exact",
        ("UPDATE user_counts SET following = following + 3 WHERE fid = 1",),
        ("UPDATE user_counts SET following = following - 3 WHERE fid = 1",),
    ),
    _sql(
        "cast_threads",
        "threads_exact",
        ("UPDATE cast_threads SET depth = depth + 1",),
        ("UPDATE cast_threads SET depth = depth - 1",),
    ),
    _sql(
        "reconciled_fids",
        "no_drift",
        (
            "INSERT INTO pipeline.drift (table_name, fid, bucket, shard, kind, key, snapshot_version, run_id) "
            "SELECT 'casts', 1, 1, 1, 'different', '{}', 0, 'a run' FROM generate_series(1, 12)",
        ),
        ("DELETE FROM pipeline.drift",),
    ),
)
"""In a replica of `served_in_part`'s log, each without effect on the other checks that are evaluated."""
