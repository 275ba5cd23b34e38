"""Do the tests notice? Bugs are planted in a copy of the package, and a fast part of the tests is run on it."""

import re
import shutil
import time
from pathlib import Path

import pytest

from fc_pipeline.config.project import project_root
from fc_pipeline_tests.faults import results
from fc_pipeline_tests.faults.planted_bugs import PLANTED_BUGS, PlantedBug
from fc_pipeline_tests.faults.results import Caught
from fc_pipeline_tests.support.project_copy import copy_project, run_in_copy

TESTS = (
    "faults/test_promises.py",
    "faults/test_paging_traps.py",
    "hub/test_client.py",
    "hub/test_feed.py",
    "hub/test_snapshot.py",
    "fold/test_state_rules.py",
    "fold/test_quarantined.py",
    "fold/test_derived.py",
    "fold/test_threads_and_counts.py",
    "store/test_changes.py",
    "store/test_ledger.py",
    "faults/test_bad_answers.py",
    "faults/test_other_histories.py",
    "faults/test_hub_outages.py",
    "feed/test_drain.py::test_a_run_whose_lease_was_stolen_writes_nothing_more",
)
"""In this order, up to the first that fails: those that notice most come first."""
MAX_SECONDS = 300.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project once more, to be spoiled."""
    return copy_project(tmp_path_factory.mktemp("project") / "copy")


def first_failure(project: Path, folder: Path) -> str | None:
    """Run the tests on the copy; the first that failed, None if none did."""
    tests = [f"fc_pipeline_tests/{name}" for name in TESTS]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", f"--basetemp={folder}"]
    options += ["-m", "not faults and not mutations"]  # those that are slow elsewhere are wanted here
    ran = run_in_copy(project, "-m", "pytest", *options, *tests, timeout_seconds=MAX_SECONDS)
    assert ran.returncode in (0, 1), ran.stdout[-2000:] + ran.stderr[-2000:]
    if ran.returncode == 0:
        return None
    failed = re.findall(r"^(?:FAILED|ERROR) fc_pipeline_tests/(.+?)(?: - .*)?$", ran.stdout, re.MULTILINE)
    assert failed, ran.stdout[-2000:]
    return failed[0]


def test_every_bug_can_be_planted(tmp_path: Path) -> None:
    """The source has not moved on from under them."""
    for planted in PLANTED_BUGS:
        package = tmp_path / "package"
        for change in planted.changes:
            target = package / change.file
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(project_root() / "fc_pipeline" / change.file, target)
            change.apply(package)
            if target.suffix == ".py":
                compile(target.read_bytes(), change.file, "exec")
        shutil.rmtree(package)
    names = [planted.name for planted in PLANTED_BUGS]
    assert len(names) == len(set(names)) >= 20


@pytest.mark.mutations
def test_without_a_bug_nothing_fails(project: Path, tmp_path: Path) -> None:
    """And it is the copy that is tested, not the installed package."""
    said = run_in_copy(project, "-c", "import fc_pipeline; print(fc_pipeline.__file__)", timeout_seconds=MAX_SECONDS)
    assert Path(said.stdout.strip()).is_relative_to(project)
    assert first_failure(project, tmp_path / "tests") is None


@pytest.mark.mutations
@pytest.mark.parametrize("planted", PLANTED_BUGS, ids=lambda planted: planted.name)
def test_a_planted_bug_is_noticed(project: Path, tmp_path: Path, planted: PlantedBug) -> None:
    started = time.monotonic()
    package = project / "fc_pipeline"
    sound = {change.file: (package / change.file).read_bytes() for change in planted.changes}
    try:
        for change in planted.changes:
            change.apply(package)
        caught_by = first_failure(project, tmp_path / "tests")
    finally:
        for file, source in sound.items():
            (package / file).write_bytes(source)
    results.CAUGHT.append(Caught(planted.name, caught_by, time.monotonic() - started))
    assert caught_by is not None
