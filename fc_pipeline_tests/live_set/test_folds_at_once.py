"""A long log folded by several sessions at once that are killed, beside snapshots and digests: a plain model's root.

FC_LIVE_SET_EVENTS says how long it is, for a run by hand.
"""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random

import adbc_driver_manager
import pytest
import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import AlreadyFolded, PostgresError, SessionLost
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hub.wire import height_of
from fc_pipeline.live_set.digests import DigestKeeper
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.local_http import local_answer
from fc_pipeline_tests.support.any_order import Log, Piece
from fc_pipeline_tests.support.events import HOUR_UNIX, micro_batch
from fc_pipeline_tests.support.live_sets import LiveSet, plain_keys, root_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

pytestmark = pytest.mark.slow

EVENTS = int(os.environ.get("FC_LIVE_SET_EVENTS", "15000"))
SEED = int(os.environ.get("FC_FAULT_SEED", "20261130"))
SHARDS = 2
FOLDERS = 3
KILLED_FOLDS = 10
KILLED_KEEPERS = 3
PIECES = 40
"""At least so many of each shard."""
HUB_PATIENCE_SECONDS = 3_600.0
FOLD, KEEP = "at once", "keep digests"
"""Run ids: so Postgres knows the sessions by name."""
KILLED = (SessionLost, PostgresError, adbc_driver_manager.Error)


def blocks_of_log(log: EventLog) -> Log:
    found: Log = {}
    for number, shard in log.shards.items():
        blocks: defaultdict[int, list[bytes]] = defaultdict(list)
        for event_id, raw in zip(shard.event_ids, shard.raws, strict=True):
            blocks[height_of(event_id)].append(raw)
        found[number] = dict(blocks)
    return found


def pieces(log: Log, chance: Random) -> list[Piece]:
    """Each shard's heights cut anywhere."""
    found: list[Piece] = []
    for shard, blocks in log.items():
        heights = sorted(blocks)
        most = max(1, len(heights) // PIECES)
        while heights:
            length = min(len(heights), chance.randint(1, most))
            found.append(Piece(shard, heights[0], heights[length - 1]))
            heights = heights[length:]
    return found


@dataclass
class Kills:
    """Ends sessions of a name in the middle of their work, up to so many; `count` were at it."""

    engine: sa.Engine
    chance: Random
    count: dict[str, int] = field(default_factory=lambda: {FOLD: 0, KEEP: 0})
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        wanted = {FOLD: KILLED_FOLDS, KEEP: KILLED_KEEPERS}
        while not self.over.wait(self.chance.uniform(0.05, 0.4)):
            open_names = [name for name, most in wanted.items() if self.count[name] < most]
            if not open_names:
                return
            name = self.chance.choice(open_names)
            with self.engine.connect() as connection:
                at_work = connection.execute(
                    sa.text(
                        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
                        "AND application_name = :name"
                    ),
                    {"name": f"fc_pipeline {name}"},
                ).scalars()
                for pid in list(at_work)[:1]:
                    self.count[name] += bool(
                        connection.scalar(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
                    )


@contextmanager
def killing(engine: sa.Engine, chance: Random) -> Generator[Kills]:
    kills = Kills(engine, chance)
    thread = threading.Thread(target=kills.run, name="kills")
    thread.start()
    try:
        yield kills
    finally:
        kills.over.set()
        thread.join()


def through_kills(session: FoldSession, work: Callable[[], object]) -> None:
    """Until it is done; what a killed session has committed all the same is not written once more."""
    is_lost = False
    while True:
        try:
            if is_lost:  # it may be killed again as it opens
                session.reopen()
            work()
        except AlreadyFolded:
            return
        except KILLED:
            is_lost = True
        else:
            return


def fold_all(url: str, log: Log, steps: SimpleQueue[tuple[Piece, bool]]) -> None:
    """One of several folders: takes the next piece, new ones and some that are folded once more."""
    with FoldSession(url, FOLD) as session:
        while True:
            try:
                piece, is_new = steps.get_nowait()
            except Empty:
                return
            batch = micro_batch(log[piece.shard], piece.first, piece.last, piece.shard, shard_count=SHARDS)
            fold = session.fold if is_new else session.refold
            through_kills(session, lambda fold=fold, batch=batch: fold(batch))


def keep_digests(url: str, is_over: threading.Event) -> None:
    """Make digests anew all the time; a keeper that was killed is followed by the next."""
    while not is_over.is_set():
        try:
            with DigestKeeper(url, KEEP, SHARDS) as keeper:
                while not is_over.is_set():
                    keeper.refresh()
        except KILLED:
            continue


def test_in_any_order_by_killed_sessions_beside_snapshots_the_root_is_the_models(
    database: Database, tmp_path: Path
) -> None:
    chance = Random(SEED)
    fids = max(25, EVENTS // 500)
    lines = generate(SEED, fids=fids, events=EVENTS, events_per_second=40.0, start_unix=HOUR_UNIX)
    hub_log = log_from_lines(lines)
    log = blocks_of_log(hub_log)
    expected = {shard: root_of(plain_keys(log, shard)) for shard in log}
    steps: SimpleQueue[tuple[Piece, bool]] = SimpleQueue()
    again = pieces(log, chance)
    planned = [(piece, True) for piece in pieces(log, chance)]
    planned += [(piece, False) for piece in chance.sample(again, len(again) // 2)]
    chance.shuffle(planned)
    for step in planned:
        steps.put(step)

    with serving(hub_log) as url, workbench(database, tmp_path / "lake", url) as bench:
        postgres = bench.tables.url

        def snapshots(run_id: str) -> None:
            assert Backfill(bench.replica, run_id, BackfillScope()).execute().unread == {}

        # Of a long log the hub makes its state before its first answer, for longer than a client waits.
        local_answer(int(url.rsplit(":", 1)[1]), "/v1/fids?shard_id=1", timeout_seconds=HUB_PATIENCE_SECONDS)
        snapshots("before")
        is_over = threading.Event()
        started = time.monotonic()
        with killing(database.engine, chance) as kills, ThreadPoolExecutor(FOLDERS + 2) as pool:
            keeper = pool.submit(keep_digests, postgres, is_over)
            work = [pool.submit(fold_all, postgres, log, steps) for _ in range(FOLDERS)]
            work.append(pool.submit(snapshots, "between"))
            try:
                for one in work:
                    one.result()
            finally:
                is_over.set()
            keeper.result()
        seconds = time.monotonic() - started
        snapshots("after")
        print(f"FC_FAULT_SEED={SEED}: {EVENTS} events in {len(planned)} pieces, {kills.count} killed, {seconds:.0f} s")
        assert min(kills.count.values()) > 0
        found = LiveSet(postgres)
        assert found.roots() == expected
        found.refresh()
        assert found.roots() == expected
        found.refresh(all_fids=True)
        assert found.roots() == expected
