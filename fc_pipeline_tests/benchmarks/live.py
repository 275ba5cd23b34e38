"""Following a live hub with all of Dagster, as `up` runs it: from an event's block to its commit, over some takeovers.

The sample hub makes a block per second and shard, and its record says when each was due; a block is visible a moment
later, so that the hub's own delay counts as ours. Postgres notes when each micro-batch was committed. Both are on one
clock. Everything is on one machine: hub, Postgres, webserver, daemon, code server and the runs.
"""

import os
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import sqlalchemy as sa

from fc_pipeline.config.settings import Settings
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.orchestration.instance.storage import DAGSTER_DATABASE
from fc_pipeline.replica import open_replica
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.postgres import TUNING
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.benchmarks.stage import hub_process, open_stage
from fc_pipeline_tests.support.pipeline import project_environment

__all__ = ["follow_live"]

TAKEOVERS = 3
HISTORY_EVENTS = 20_000
SETTLED_SECONDS = 10.0
TIMEOUT_SECONDS = 300.0

# Adds to each change of the ledger the heights that it covers; the transaction's commit time is kept by Postgres.
_NOTE_COMMITS = """
CREATE TABLE commits (shard int, first_height bigint, last_height bigint, run_id text);
CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO commits VALUES (
        NEW.shard, CASE TG_OP WHEN 'UPDATE' THEN OLD.to_height + 1 ELSE NEW.from_height END, NEW.to_height, NEW.run_id
    );
    RETURN NULL;
END $$;
CREATE TRIGGER note_commit AFTER INSERT OR UPDATE OF to_height ON pipeline.coverage
    FOR EACH ROW EXECUTE FUNCTION note_commit()
"""


@dataclass(frozen=True)
class Block:
    """A block that the hub made: when, and how many events it has."""

    shard: int
    height: int
    unix: int
    events: int


def follow_live(folder: Path, seconds: float, events_per_second: float) -> dict[str, float]:
    """Follow a hub at this rate for so long; latencies in seconds, weighted by events."""
    record = folder / "live.ndjson"
    tuning = {**TUNING, "track_commit_timestamp": "on"}
    log = ("--events", str(HISTORY_EVENTS), "--fids", "2000")
    live = ("--live", str(events_per_second), "--endless", "--record", str(record))
    with open_stage(folder, tuning) as stage, hub_process(*log, *live) as hub_url:
        settings = stage.settings(hub_url)
        engine = sa.create_engine(settings.sqlalchemy_url())
        ensure_schema(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql(_NOTE_COMMITS)
        with _up(folder, settings, follow_seconds=seconds / (TAKEOVERS + 0.5)):
            begin = _wait_until_level(engine, record) + SETTLED_SECONDS
            time.sleep(max(0.0, begin + seconds - time.time()))
            blocks = [block for block in _blocks(record) if begin <= block.unix < begin + seconds]
            _wait_until_committed(engine, blocks)
            figures = _figures(engine, blocks)
        figures |= _lost(settings, blocks) | {"failed_runs": _failed_runs(settings)}
        engine.dispose()
        return figures


@contextmanager
def _up(folder: Path, settings: Settings, *, follow_seconds: float) -> Generator[None]:
    environment = project_environment(
        FC_DATA_DIR=str(folder / "data"),
        FC_LAKE_URI=settings.lake_uri,
        FC_POSTGRES_URL=settings.libpq_url(),
        FC_HUB_URLS=",".join(settings.hub_urls),
        FC_FOLLOW_SECONDS=str(round(follow_seconds)),
        PYTHONPATH=os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")])),
    )
    command = [sys.executable, "-m", "fc_pipeline.cli", "up", "--port", str(free_port())]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"`up` ended:\n{(folder / 'up.log').read_text(encoding='utf-8')}")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _blocks(record: Path) -> Iterator[Block]:
    """The blocks of the hub's record; a last line that is being written is left out."""
    for line in record.read_bytes().split(b"\n")[:-1]:
        event = msgspec.json.decode(line)
        if "blockConfirmedBody" in event:
            body = event["blockConfirmedBody"]
            height, unix = event["id"] >> 14, body["timestamp"] + FARCASTER_EPOCH_UNIX
            yield Block(event["shardIndex"], height, unix, body["totalEvents"])


def _wait_until_level(engine: sa.Engine, record: Path) -> float:
    """Wait until a run follows at the hub's tip; gives the time."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        blocks = list(_blocks(record)) if record.exists() else []
        heads = {block.shard: block.height for block in blocks}
        covered = _covered(engine)
        if heads and all(covered.get(shard, 0) >= height - 2 for shard, height in heads.items()):
            return time.time()
        time.sleep(0.5)
    raise RuntimeError("no run has come level with the hub")


def _covered(engine: sa.Engine) -> dict[int, int]:
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT shard, max(last_height) AS height FROM commits GROUP BY shard"))
        return {row.shard: row.height for row in rows}


def _wait_until_committed(engine: sa.Engine, blocks: list[Block]) -> None:
    wanted = {block.shard: block.height for block in blocks}
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        covered = _covered(engine)
        if all(covered.get(shard, 0) >= height for shard, height in wanted.items()):
            return
        time.sleep(0.5)


def _figures(engine: sa.Engine, blocks: list[Block]) -> dict[str, float]:
    commits: dict[int, list[tuple[int, int, float, str]]] = {}
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT shard, first_height, last_height, run_id, "
                "extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS unix FROM commits ORDER BY 1, 2"
            )
        )
        for row in rows:
            commits.setdefault(row.shard, []).append((row.first_height, row.last_height, row.unix, row.run_id))
    firsts = {shard: [commit[0] for commit in found] for shard, found in commits.items()}
    latencies: list[float] = []
    weights: list[int] = []
    runs: set[str] = set()
    for block in blocks:
        index = bisect_right(firsts.get(block.shard, []), block.height) - 1
        if index < 0 or commits[block.shard][index][1] < block.height:
            continue  # counted as lost
        _, _, unix, run_id = commits[block.shard][index]
        latencies.append(unix - block.unix)
        weights.append(block.events)
        runs.add(run_id)
    p50, p95, p99 = np.quantile(np.repeat(latencies, weights), [0.5, 0.95, 0.99])
    return {
        "events": sum(weights),
        "blocks": len(latencies),
        "takeovers": len(runs) - 1,
        "p50_seconds": float(p50),
        "p95_seconds": float(p95),
        "p99_seconds": float(p99),
        "max_seconds": max(latencies),
    }


def _lost(settings: Settings, blocks: list[Block]) -> dict[str, float]:
    """Events of the hub's blocks that the raw log lacks or has twice, and those that the ledger lacks."""
    found: Counter[tuple[int, int]] = Counter()
    with open_replica(settings) as replica:
        for hour in replica.log.hours():
            for shard in {block.shard for block in blocks}:
                for batch in replica.log.read(replica.log.files(hour, shard)):
                    found.update((shard, event_id >> 14) for event_id in batch.event_ids)
        with replica.engine.connect() as connection:
            ranges = connection.execute(sa.text("SELECT shard, from_height, to_height FROM pipeline.coverage")).all()
    in_ledger = {(shard, height) for shard, first, last in ranges for height in range(first, last + 1)}
    return {
        "events_lost_in_raw_log": sum(abs(block.events - found[block.shard, block.height]) for block in blocks),
        "events_lost_in_ledger": sum(block.events for block in blocks if (block.shard, block.height) not in in_ledger),
    }


def _failed_runs(settings: Settings) -> int:
    engine = sa.create_engine(settings.sqlalchemy_url(DAGSTER_DATABASE))
    with engine.connect() as connection:
        count = connection.scalar(sa.text("SELECT count(*) FROM runs WHERE status = 'FAILURE'"))
    engine.dispose()
    return count or 0
