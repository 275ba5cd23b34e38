"""README's table of settings and the `.env` of a new project are those of the declarations."""

from pathlib import Path

import pytest

from fc_pipeline.config.reference import env_file, settings_markdown, with_settings
from fc_pipeline.config.settings import Settings, declared_settings

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readme_is_up_to_date() -> None:
    page = README.read_text(encoding="utf-8")
    assert page == with_settings(page), "run: make docs"


def test_every_field_is_declared_and_documented() -> None:
    declared = declared_settings()
    assert {name.removeprefix("FC_").lower() for name in declared} == set(Settings.model_fields)
    rows = settings_markdown().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(declared)
    assert all(row.count(" | ") == 2 and "{example}" not in row for row in rows)


def test_examples_are_valid(tmp_path: Path) -> None:
    """The `.env` of a new project works with every comment sign taken away."""
    head, _, lines = env_file().partition("\n\n")
    assert all(line.startswith("# ") for line in head.splitlines())
    file = tmp_path / ".env"
    file.write_text("".join(line.removeprefix("# ") for line in lines.splitlines(keepends=True)), encoding="utf-8")
    settings = Settings.load({}, dotenv=file)
    assert settings.hub_headers_for("http://127.0.0.1:3381") == {"x-api-key": "KEY"}
    assert (settings.targets, settings.root_fids, settings.audit_days) == ("set", (3, 12), 7)


def test_defaults_that_are_shown_are_those_in_force() -> None:
    settings = Settings.load({"FC_DATA_DIR": "/nowhere"}, dotenv=None)
    rows = [row.strip("| ").split(" | ") for row in settings_markdown().splitlines()[2:]]
    numbers = {name.strip("`"): float(default) for name, _, default in rows if default.isdecimal()}
    assert numbers == {
        "FC_FOLLOW_SECONDS": settings.follow_seconds,
        "FC_BATCH_SECONDS": settings.batch_seconds,
        "FC_BATCH_EVENTS": settings.batch_events,
        "FC_METRICS_PORT": settings.metrics_port,
    }


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places"):
        with_settings("# A page")
