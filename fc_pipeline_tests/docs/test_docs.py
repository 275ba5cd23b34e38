"""What the README and the pages of docs/ print is true: commands parse, SQL runs, links lead somewhere."""

import importlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
import pytest
import sqlalchemy as sa
from dagster import AssetKey, AssetsDefinition

from fc_pipeline.config.settings import declared_settings
from fc_pipeline.config.variables import OF_PROCESSES
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.docs import command_lines
from fc_pipeline_tests.docs.pages import (
    PAGES,
    ROOT,
    SHELL,
    Block,
    anchors,
    blocks,
    blocks_in,
    inline_code,
    links,
    name_of,
    prose,
    shell_commands,
)
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

README = ROOT / "README.md"
TESTING = ROOT / "docs" / "testing.md"
README_LINES = 200
LINE_CHARACTERS = 120
OTHER_PROGRAMS = frozenset(
    {"createdb", "curl", "dbt", "du", "echo", "export", "git", "journalctl", "pg_dump", "pg_restore", "psql", "rsync"}
    | {"dg", "pip", "python3", "ssh", "sudo", "systemctl", "loginctl", "tar"}
    | {"aws", "docker", "helm", "kubectl"}
)
"""Programs that are not ours. What backup and restore, and roles.sql, do with Postgres' is tested as a whole."""
STAND_INS = {
    "FID": "12",
    "N": "3399",
    "RATE": "5",
    "FILE": "events.ndjson",
    "…": "12",
    "COMMAND": "status",
    "PATH": "path",
    "FOLDER": ".",
}
"""What a word that stands for a value is parsed as."""
PROGRAM = re.compile(r"^(?:FC_\w+=\S+ )*(?:\.venv/bin/)?(?P<program>fc-pipeline|dagster|make)(?: (?P<words>.*))?$")


def page_ids(page: Path) -> str:
    return name_of(page)


def check_command(words: list[str]) -> None:
    """Raises click.UsageError or AssertionError for a command that our programs do not have."""
    program, rest = Path(words[0]).name, words[1:]
    if program == "fc-pipeline":
        command_lines.parse(command_lines.fc_pipeline(), [STAND_INS.get(word, word) for word in rest])
    elif program == "dagster":
        command_lines.parse(command_lines.dagster(), rest)
    elif program == "make":
        check_make(rest)
    elif program == "python":
        check_python(rest)
    else:
        assert program in OTHER_PROGRAMS, f"what is {program}?"


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        variable, is_setting, _ = word.partition("=")
        wanted = rf"^{variable} \?=|\$\({variable}\)" if is_setting else rf"^{re.escape(word)}:"
        assert re.search(wanted, makefile, re.MULTILINE), f"make {word}"


def check_python(words: list[str]) -> None:
    """`-m MODULE` exists; `-c CODE` compiles, and has what it imports from us."""
    assert words[0] in ("-m", "-c"), words
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]), words[1]
        return
    compile(words[1], "docs", "exec")
    for module, name in re.findall(r"from (fc_pipeline[\w.]*) import (\w+)", words[1]):
        assert hasattr(importlib.import_module(module), name), words[1]


def block_id(block: Block) -> str:
    return f"{block.page}: {block.text.splitlines()[0][:40]}"


@pytest.mark.parametrize("block", blocks_in(SHELL), ids=block_id)
def test_commands_of_code_blocks_parse(block: Block) -> None:
    commands = shell_commands(block)
    assert commands
    for words in commands:
        check_command(words)


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_commands_in_the_text_parse(page: Path) -> None:
    for code in inline_code(page):
        match = PROGRAM.match(code.replace("&&", " "))
        if match is None or match["words"] is None or set(match["words"]) <= set("…"):
            continue
        words = match["words"].split()
        try:
            check_command([match["program"], *(STAND_INS.get(word, word) for word in words)])
        except click.MissingParameter:
            pass  # a command that is only named
        except click.UsageError as error:
            pytest.fail(f"{code}: {error.format_message()}")


def test_a_wrong_flag_a_wrong_command_and_a_wrong_target_are_noticed() -> None:
    with pytest.raises(click.UsageError):
        check_command(["fc-pipeline", "verify", "--every"])
    with pytest.raises(click.UsageError):
        check_command(["fc-pipeline", "quarantine", "burn"])
    with pytest.raises(click.UsageError):
        check_command([".venv/bin/dagster", "asset", "materialise"])
    for words in (["make", "coffee"], ["python", "-m", "fc_pipeline.no_such"], ["rm", "-rf", "data"]):
        with pytest.raises((AssertionError, ModuleNotFoundError)):
            check_command(words)


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_links_anchors_and_images_exist(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.is_file(), link
        if anchor:
            assert anchor in anchors(file), link


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {(README.parent / link.partition("#")[0]).resolve() for link in links(README)}
    assert set(PAGES) - {README} <= linked


def test_the_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= README_LINES
    too_long = [line for line in lines if len(line) > LINE_CHARACTERS and not line.startswith("|")]
    assert too_long == []  # a table's row cannot be broken


def test_settings_in_the_pages_exist() -> None:
    of_tests = {
        "FC_DAGSTER_CHART",
        "FC_FAULT_SEED",
        "FC_FAULT_SEEDS",
        "FC_LIVE_SET_EVENTS",
        "FC_TEST_HUB",
        "FC_TEST_FIDS",
        "FC_TEST_HUB_HEADERS",
    } | set(re.findall(r"^\| `(FC_LIVE_\w+)`", TESTING.read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"\bFC_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
        assert named <= set(declared_settings()) | OF_PROCESSES | of_tests, page.name


@pytest.fixture(scope="module")
def filled(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A replica with some rows of every table."""
    lines = list(generate(5, fids=40, events=1_500, events_per_second=30.0, start_unix=HOUR_UNIX))
    lake = tmp_path_factory.mktemp("docs") / "lake"
    with (
        fresh_database(postgres) as database,
        serving(log_from_lines(lines)) as url,
        workbench(database, lake, url) as bench,
    ):
        bench.run()
        yield bench


@pytest.mark.parametrize("block", blocks_in("sql"), ids=block_id)
def test_sql_runs(block: Block, filled: Workbench) -> None:
    with filled.replica.engine.connect() as connection, connection.begin() as transaction:
        for statement in filter(str.strip, block.text.split(";\n")):
            connection.exec_driver_sql(statement.replace("%", "%%"))
        transaction.rollback()


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_select_statements_in_the_text_run(page: Path, filled: Workbench) -> None:
    for code in inline_code(page):
        if code.startswith("SELECT ") and "PID" not in code and "…" not in code:
            with filled.replica.engine.connect() as connection:
                connection.exec_driver_sql(code)


def test_python_that_defines_models_makes_assets_below_closed_hours() -> None:
    page: dict[str, object] = {}
    for block in blocks_in("python"):
        if block.page == "docs/models.md":
            exec(block.text, page)  # noqa: S102 - the page's own code, one block after the other
    models = [value for value in page.values() if isinstance(value, AssetsDefinition)]
    assert len(models) >= 2
    for model in models:
        assert model.asset_deps[model.key] == {AssetKey("closed_hours")}


@pytest.mark.parametrize(
    "block", [block for block in blocks_in("python") if block.page != "docs/models.md"], ids=block_id
)
def test_python_runs(block: Block, filled: Workbench) -> None:
    hour = filled.replica.log.hours()[0]
    folder = f"data/lake/hub_events/hour={hour.start:%Y-%m-%dT%H}"
    code = re.sub(r"data/lake/hub_events/hour=[\dT-]+", folder, block.text)
    assert folder in code
    done: dict[str, object] = {}
    exec(code.replace("data/lake", filled.replica.settings.lake_uri), done)  # noqa: S102 - the page's own code
    events = done["events"]
    assert isinstance(events, pd.DataFrame)
    assert {"event_id", "height", "block_time", "event"} <= set(events.columns)
    assert len(events) > 0


@pytest.mark.parametrize("block", blocks_in("json"), ids=block_id)
def test_json_parses(block: Block) -> None:
    json.loads(block.text)


def test_no_page_names_what_has_moved() -> None:
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            assert not re.search(r"runbook\.md|surroundings\.md", page.read_text(encoding="utf-8")), page.name


def test_paths_of_the_package_in_the_text_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`(fc_pipeline(?:_tests)?/[\w/.*]+)`", prose(page)):
            assert list(ROOT.glob(path.rstrip("/"))), (page.name, path)


def test_every_code_block_is_of_a_language_that_is_tested() -> None:
    """`text` is a picture or a message; what nginx says of its own configuration is not tested."""
    languages = {block.language for page in PAGES for block in blocks(page)}
    assert languages == {SHELL, "sql", "pgsql", "python", "json", "yaml", "nginx", "text"}


def test_the_database_that_is_recommended_can_be_made(filled: Workbench) -> None:
    """docs/postgres.md: a database in UTF8, on a server of any encoding."""
    (statement,) = (block.text for block in blocks_in("pgsql"))
    made = "docs_recommended"
    engine = filled.replica.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(statement.rstrip(";").replace("fc_pipeline", made)))
        connection.execute(sa.text(f"DROP DATABASE {made}"))
