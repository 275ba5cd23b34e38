"""`fc-pipeline backfill --workers N`: runs that share a round; killed, stopped, and beside another call."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.cli.test_sync_and_status import Project, hub

__all__ = ["hub"]  # a fixture

pytestmark = pytest.mark.slow

USERS = 50
ASKED_SLOWLY = {"FC_HUB_RPS": "50", "FC_REDIS_URL": ""}
PATIENCE_SECONDS = 180.0


@pytest.fixture
def project(hub: str, tmp_path: Path) -> Iterator[Project]:
    """A project whose Postgres runs as long as the test does."""
    made = Project(tmp_path / "data", hub)
    server = EmbeddedPostgres(made.data_dir)
    server.acquire()
    yield made
    server.release()


def rows(project: Project, query: str, database: str = "fc_pipeline") -> list[tuple[object, ...]]:
    url = EmbeddedPostgres(project.data_dir).url().replace("/fc_pipeline?", f"/{database}?")
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def begun(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, while it works."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "fc_pipeline.cli", "backfill", *arguments],
        env={**kept, "FC_DATA_DIR": str(project.data_dir), "FC_HUB_URLS": project.hub_url, **ASKED_SLOWLY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(is_so: Callable[[], bool], command: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def fetched(project: Project) -> int:
    try:
        return int(str(rows(project, "SELECT count(*) FROM pipeline.snapshots")[0][0]))
    except psycopg2.Error:  # not migrated yet
        return 0


def workers_of(command: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of its runs, which are at it."""
    children = psutil.Process(command.pid).children()
    return [one for one in children if "multiprocessing.spawn" in " ".join(one.cmdline())]


def check_whole(project: Project) -> None:
    """Everybody is fetched and folded, each once, by one list."""
    assert rows(project, "SELECT count(*), bool_and(folded_file = file) FROM pipeline.snapshots") == [(USERS + 1, True)]
    finished = "SELECT count(DISTINCT bucket), sum(fids) FROM pipeline.snapshot_rounds WHERE finished_at IS NOT NULL"
    assert rows(project, finished) == [(256, USERS + 1)]
    assert rows(project, "SELECT count(*) FROM pipeline.fid_listings") == [(1,)]


def statuses(project: Project) -> Counter[object]:
    return Counter(row[0] for row in rows(project, "SELECT status FROM runs", "dagster"))


def test_workers_share_the_buckets_and_a_killed_one_is_replaced(project: Project) -> None:
    command = begun(project, "--all", "--workers", "2", "--json")
    until(lambda: fetched(project) > 0, command)
    workers = workers_of(command)
    assert len(workers) == 2
    workers[0].kill()
    out, told = command.communicate(timeout=PATIENCE_SECONDS)
    assert command.returncode == 0, told
    assert json.loads(out)["drift"] == {}
    check_whole(project)
    # Of eight ranges one or two were begun twice.
    assert statuses(project)["SUCCESS"] >= 8
    again = project.run("backfill", "--buckets", "0-1", "--workers", "2", "--json")
    assert again.returncode == 0, again.stderr
    assert rows(project, "SELECT count(*) FROM pipeline.fid_listings") == [(2,)]


def test_ctrl_c_ends_all_at_their_next_commit_and_the_next_call_goes_on(project: Project) -> None:
    command = begun(project, "--all", "--workers", "2")
    until(lambda: fetched(project) > 0, command)
    workers = workers_of(command)
    os.killpg(command.pid, signal.SIGINT)
    _, told = command.communicate(timeout=PATIENCE_SECONDS)
    assert command.returncode != 0
    assert "Traceback" not in told
    assert not any(one.is_running() for one in workers)
    assert 0 < fetched(project) < USERS + 1
    assert statuses(project).keys() <= {"CANCELED", "SUCCESS"}
    rest = project.run("backfill", "--all", "--json")
    assert rest.returncode == 0, rest.stderr
    assert "a round goes on" in rest.stderr
    check_whole(project)


def test_two_calls_beside_each_other_do_the_work_once(project: Project) -> None:
    commands = [begun(project, "--all", "--workers", "2", "--json") for _ in range(2)]
    told = [one.communicate(timeout=PATIENCE_SECONDS) for one in commands]
    assert 0 in [one.returncode for one in commands], told
    check_whole(project)
