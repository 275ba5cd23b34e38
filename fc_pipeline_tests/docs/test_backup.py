"""docs/operations.md, backup and restore: a dump and a copy of the lake, restored, continue to the same tables."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg2
import pytest
import sqlalchemy as sa

from fc_pipeline.errors import ServiceError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres, client_program
from fc_pipeline_tests.docs.pages import ROOT, SHELL, blocks, shell_commands
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import Database, administering, fresh_database
from fc_pipeline_tests.support.workbench import workbench

FIRST_HOUR = Hour(HOUR_UNIX)


class Tools(NamedTuple):
    """Postgres' own programs."""

    pg_dump: str
    pg_restore: str
    createdb: str


@pytest.fixture
def tools() -> Tools:
    """Those of the wheel, as the page names them; Debian's may be older than the server."""
    try:
        found = Tools(*(str(client_program(name)) for name in Tools._fields))
    except ServiceError as error:
        pytest.skip(str(error))
    if not all(Path(program).is_file() for program in found):
        pytest.skip("the embedded Postgres has no client programs")
    return found


@pytest.fixture
def log() -> EventLog:
    """Blocks around the end of an hour, so that one hour can be folded before the dump and one after."""
    start = HOUR_UNIX + 3600 - 30
    return log_from_lines(list(generate(11, fids=30, events=1_500, events_per_second=25.0, start_unix=start)))


@pytest.fixture
def restored_name(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = "docs_restored"
    yield name
    with administering(postgres.url()) as admin:
        admin.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def printed(program: str) -> list[str]:
    """The page's first command of that program."""
    for block in blocks(ROOT / "docs" / "operations.md"):
        for words in shell_commands(block) if block.language == SHELL else []:
            if Path(words[0]).name == program:
                return words
    raise AssertionError(f"the page has no {program}")


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (command, done.stderr)


@pytest.mark.slow
def test_a_restored_dump_continues_to_the_same_tables(
    postgres: EmbeddedPostgres, database: Database, tools: Tools, log: EventLog, tmp_path: Path, restored_name: str
) -> None:
    lake, copy, dump = tmp_path / "lake", tmp_path / "copy", tmp_path / "replica.dump"
    with serving(log) as hub:
        with workbench(database, lake, hub) as bench:
            bench.run(window=HourWindow(FIRST_HOUR, FIRST_HOUR))
            run(tools.pg_dump, *options_of("pg_dump"), f"--file={dump}", database.url)
            shutil.copytree(lake, copy)
            half = bench.ledger()
            bench.run("after")
            whole, ledger = bench.dump(), bench.ledger()
        assert half != ledger
        run(tools.createdb, *options_of("createdb"), f"--maintenance-db={postgres.url()}", restored_name)
        # The URL of the restored one is that of the original with another name.
        url = database.url.replace(database.name, restored_name)
        run(tools.pg_restore, *options_of("pg_restore"), f"--dbname={url}", str(dump))
        restored = Database(
            restored_name,
            url,
            database.sqlalchemy_url.replace(database.name, restored_name),
            sa.create_engine(database.sqlalchemy_url.replace(database.name, restored_name)),
        )
        with workbench(restored, copy, hub) as bench:
            assert bench.ledger() == half
            bench.run("restored")
            assert bench.dump() == whole
            assert bench.ledger() == ledger
            rebuilt = bench.dump("casts", "links", "fid_activity")
            bench.rebuild()  # from the copied lake and what came after
            assert bench.dump("casts", "links", "fid_activity") == rebuilt
        restored.engine.dispose()


def options_of(program: str) -> list[str]:
    """The options that the page prints for it, but for those that name files and databases."""
    return [
        word for word in printed(program)[1:] if word.startswith("--") and not word.startswith(("--file", "--dbname"))
    ]


def test_a_dump_brings_the_schema_whole(
    postgres: EmbeddedPostgres, database: Database, tools: Tools, tmp_path: Path
) -> None:
    """Constraints, indexes and comments, by comparing what pg_dump says of both."""
    dump = tmp_path / "replica.dump"
    run(tools.pg_dump, *options_of("pg_dump"), f"--file={dump}", database.url)
    with fresh_database(postgres, migrated=False) as other:
        run(tools.pg_restore, *options_of("pg_restore"), f"--dbname={other.url}", str(dump))
        schemas = [
            subprocess.run(
                [tools.pg_dump, "--schema-only", "--restrict-key=same", url], capture_output=True, text=True, check=True
            ).stdout
            for url in (database.url, other.url)
        ]
    assert schemas[0] == schemas[1]
    assert "EXCLUDE USING gist" in schemas[0]


def test_an_unpacked_data_folder_has_all_that_was_committed(tmp_path: Path) -> None:
    """The copy with `up` stopped, by the page's own tar."""
    project, restored = tmp_path / "project", tmp_path / "restored"
    server = EmbeddedPostgres(project / "data", {**TUNING, "shared_buffers": "16MB"})
    execute(server.acquire(), "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    assert server.release()
    restored.mkdir()
    archive = tmp_path / "fc_pipeline.tar"
    assert printed("tar")[1:] == ["--create", "--file", "/backup/fc_pipeline.tar", "data"]
    run("tar", "--create", f"--file={archive}", f"--directory={project}", "data")
    run("tar", "--extract", f"--file={archive}", f"--directory={restored}")
    server = EmbeddedPostgres(restored / "data", {**TUNING, "shared_buffers": "16MB"})
    assert execute(server.acquire(), "SELECT sum(n) FROM kept") == 500_500
    assert server.release()


def execute(url: str, statement: str) -> object:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchone() if cursor.description else None
        connection.commit()
        return found and found[0]
