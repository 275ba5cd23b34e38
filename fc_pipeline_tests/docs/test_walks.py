"""What pages print as a sequence of commands works as printed, from the first to the last."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fc_pipeline_tests.docs.pages import ROOT, SHELL, blocks


def commands_of(page: str) -> list[str]:
    """The lines of a page's first code block of commands, without their comments."""
    block = next(block for block in blocks(ROOT / "docs" / page) if block.language == SHELL)
    return [line.partition("  #")[0].strip() for line in block.text.splitlines()]


@pytest.mark.slow
def test_the_commands_for_the_target_set_work_after_a_first_start(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_"))}

    def run(command: str) -> str:
        """As the page's reader, whose project is the test's folder."""
        ours = command.replace(".venv/bin/fc-pipeline", f"{sys.executable} -m fc_pipeline.cli")
        done = subprocess.run(shlex.split(ours), cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    run(".venv/bin/fc-pipeline init")
    run(".venv/bin/fc-pipeline sync")  # as a first `make up` leaves it: everybody is replicated
    exports, *rest = commands_of("targets.md")
    assert exports.startswith("export ")
    kept.update(assignment.partition("=")[::2] for assignment in exports.split()[1:])
    assert any(" targets why " in command for command in rest)
    for command in rest:
        said = run(command)
        if " targets why " in command:
            assert "is a target" in said
