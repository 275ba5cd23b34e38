"""The project folder of an earlier release: its dagster.yaml gets the names that our modules have now."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fc_pipeline.cli.main import app
from fc_pipeline.config.project import dagster_home, project_file, update_modules
from fc_pipeline.errors import ConfigError

OLD_NAMES = {
    "fc_pipeline.orchestration.instance.storage": "fc_pipeline.instance_storage",
    "fc_pipeline.orchestration.instance.run_launcher": "fc_pipeline.services.run_launcher",
}


def of_now() -> str:
    return project_file("dagster.yaml").read_text(encoding="utf-8")


@pytest.fixture
def old_project(tmp_path: Path) -> Path:
    """A folder as `init` of an earlier release made it."""
    text = of_now()
    for name, old in OLD_NAMES.items():
        assert name in text
        text = text.replace(name, old)
    (tmp_path / "dagster.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "workspace.yaml").write_text(project_file("workspace.yaml").read_text(encoding="utf-8"))
    return tmp_path


def test_what_starts_dagster_updates_the_names(old_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(old_project)
    assert dagster_home() == old_project
    assert (old_project / "dagster.yaml").read_text(encoding="utf-8") == of_now()


def test_init_says_that_it_updated_the_names(old_project: Path) -> None:
    told = CliRunner().invoke(app, ["init", str(old_project)])
    assert told.exit_code == 0, told.output
    assert f"updated {old_project / 'dagster.yaml'}" in told.output
    assert "it named modules of" not in CliRunner().invoke(app, ["init", str(old_project)]).output


def test_what_the_owner_has_changed_stays(old_project: Path) -> None:
    file = old_project / "dagster.yaml"
    text = file.read_text(encoding="utf-8").replace("max_concurrent_runs: 12", "max_concurrent_runs: 5 # mine")
    file.write_text(text + "\n# module: fc_pipeline.instance_storage\n", encoding="utf-8")
    assert update_modules(file)
    changed = of_now().replace("max_concurrent_runs: 12", "max_concurrent_runs: 5 # mine")
    assert file.read_text(encoding="utf-8") == changed + "\n# module: fc_pipeline.instance_storage\n"
    assert not update_modules(file)


def test_a_file_that_cannot_be_read_is_named_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"dagster\.yaml") as told:
        update_modules(tmp_path / "dagster.yaml")
    assert f"`fc-pipeline init {tmp_path}`" in (told.value.hint or "")
