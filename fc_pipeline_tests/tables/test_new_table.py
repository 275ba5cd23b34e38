"""A new table is its module, its line in the registry, its wire body, its endpoint and its migration: no other file."""

import filecmp
import re
import shutil
from pathlib import Path

import pytest

from fc_pipeline.config.project import project_root
from fc_pipeline.store.schema import NEWEST_REVISION
from fc_pipeline_tests.support.project_copy import Change, copy_project, run_in_copy

MADE_UP = Path(__file__).parent / "made_up"
REVISION = f"{int(NEWEST_REVISION) + 1:04}"
MIGRATION = f"store/migrations/versions/{REVISION}_notes.py"

CHANGES = (
    Change(
        "hub/wire.py",
        "class MessageData(Struct, gc=False):\n",
        "class NoteBody(Struct, gc=False):\n    title: str\n    text: str\n    subjectFid: Fid\n\n\n"
        "class MessageData(Struct, gc=False):\n",
    ),
    Change(
        "hub/wire.py",
        "    usernameProofBody: UsernameProof | None = None\n",
        "    usernameProofBody: UsernameProof | None = None\n    noteBody: NoteBody | None = None\n",
    ),
    Change(
        "hub/reads.py",
        "    async def username_proofs_by_fid(",
        "    def notes_by_fid(self, fid: int, page_size: int = PAGE_SIZE) -> AsyncIterator[list[bytes]]:\n"
        '        """NOTE_ADD messages."""\n'
        '        return self._messages("/v1/notesByFid", [("fid", fid)], page_size)\n\n'
        "    async def username_proofs_by_fid(",
    ),
    Change(
        "tables/registry.py",
        "from fc_pipeline.tables.on_chain_events import ",
        "from fc_pipeline.tables.notes import NOTE_SET\nfrom fc_pipeline.tables.on_chain_events import ",
    ),
    Change(
        "proof/message_schema.py",
        '    "CHANNEL_MODERATE": BodySchema(',
        '    "NOTE_ADD": BodySchema(\n        30,\n        30,\n        "noteBody",\n        (\n'
        '            Field(1, "title", Form.TEXT),\n            Field(2, "text", Form.TEXT),\n'
        '            Field(3, "subjectFid", Form.NUMBER),\n        ),\n    ),\n'
        '    "CHANNEL_MODERATE": BodySchema(',
    ),
    Change("proof/leaf_keys.py", '    "CHANNEL_MODERATE": 21,\n', '    "CHANNEL_MODERATE": 21,\n    "NOTE_ADD": 30,\n'),
    Change("tables/registry.py", "    MODERATION_SET,\n", "    MODERATION_SET,\n    NOTE_SET,\n"),
)

TOUCHED = {
    "tables/notes.py",
    "tables/registry.py",
    "hub/wire.py",
    "hub/reads.py",
    "proof/message_schema.py",
    "proof/leaf_keys.py",
    MIGRATION,
}
"""All that a new table takes, as docs/contributing.md lists it; docs/tables.md is made from the declaration."""

OF_EVERY_TABLE = (
    "tables/test_rows.py::test_declarations_hold_together",
    "tables/test_reference.py",
    "store/test_migrations.py::test_migrations_alone_make_every_table",
    "store/test_migrations.py::test_models_and_migrations_agree",
    "store/test_migrations.py::test_primary_keys_are_what_the_tables_declare",
    "test_definitions.py::test_column_schemas_are_those_of_the_tables[notes]",
    "test_definitions.py::test_every_asset_says_what_it_is[notes]",
    "test_definitions.py::test_every_asset_leads_to_its_code_its_runbook_and_a_query[notes]",
    "test_definitions.py::test_the_query_of_every_asset_is_answered[notes]",
    "tables/test_notes.py",
)
"""The tests that hold for each table, and those of the new one."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with the table `notes`."""
    project = copy_project(tmp_path / "copy", "docs", "workspace.yaml")
    package = project / "fc_pipeline"
    for change in CHANGES:
        change.apply(package)
    shutil.copy(MADE_UP / "notes.py", package / "tables" / "notes.py")
    tests = project / "fc_pipeline_tests" / "tables"
    for source, target in (("migration.py", package / MIGRATION), ("notes_tests.py", tests / "test_notes.py")):
        text = (MADE_UP / source).read_text(encoding="utf-8")
        target.write_text(text.replace('"THIS"', f'"{REVISION}"').replace('"NEWEST"', f'"{NEWEST_REVISION}"'))
    return project


@pytest.mark.slow
def test_a_new_table_touches_these_files_and_works_everywhere(project: Path, tmp_path: Path) -> None:
    """Takes its time: it is a whole run of pytest, with a Postgres of its own, on a copy of the package."""
    assert touched(project) == TOUCHED
    made = run_in_copy(project, "-m", "fc_pipeline.tables.reference", timeout_seconds=120)
    assert made.returncode == 0, made.stderr
    (project / "docs" / "tables.md").write_text(made.stdout, encoding="utf-8")
    tests = [f"fc_pipeline_tests/{name}" for name in OF_EVERY_TABLE]
    options = ("-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}")
    ran = run_in_copy(project, "-m", "pytest", *options, *tests, timeout_seconds=300)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert touched(project) == TOUCHED


def touched(project: Path) -> set[str]:
    """The files of the package that differ in the copy, or are only there."""
    ours, theirs = project_root() / "fc_pipeline", project / "fc_pipeline"
    files = (path for path in theirs.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    copied = {path.relative_to(theirs) for path in files}
    return {
        path.as_posix()
        for path in copied
        if not (ours / path).is_file() or not filecmp.cmp(ours / path, theirs / path, shallow=False)
    }


def test_the_page_for_contributors_names_these_files() -> None:
    page = (project_root() / "docs" / "contributing.md").read_text(encoding="utf-8")
    section = page.split("## Adding a table")[1].split("\n## ")[0]
    named = re.findall(r"^\d\..*?`fc_pipeline/(.+?)`", section, re.MULTILINE | re.DOTALL)
    # The new files are named by their folders.
    new = {"tables/": "tables/notes.py", "store/migrations/versions/": MIGRATION}
    assert sorted(new.get(place, place) for place in named) == sorted(TOUCHED)
