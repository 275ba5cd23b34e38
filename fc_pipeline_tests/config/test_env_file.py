"""`.env`: what it says is what counts, and a line that is not understood is an error that names it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.config.env_file import read_env_file
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError

NAMES = st.from_regex(r"FC_[A-Z]{1,12}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="'\\", exclude_categories=("C", "Z")), max_size=30)


@pytest.mark.slow
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("env") / ".env"
    lines = [f"{'export ' if at % 2 else ''}{name}='{value}'" for at, (name, value) in enumerate(variables.items())]
    path.write_text("\n# a comment\n" + "\n\n".join(lines) + "\n", encoding="utf-8")
    assert read_env_file(path) == variables


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FC_TARGETS=all\nthis is bad\n", 2),
        ("FC_TARGETS=all\n\n\nFC_START 2026\n", 4),
        ("# one\nFC_POSTGRES_URL='postgresql://u:secret@h/d\nFC_TARGETS=all\n", 2),
        ("FC_TARGETS\n", 1),
        ("FC_TARGETS=all\n=secret\n", 2),
    ],
)
def test_a_line_that_is_not_understood_is_named_and_not_repeated(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / ".env"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"line {line}: not NAME=value") as raised:
        Settings.load({"FC_DATA_DIR": "/d"}, dotenv=path)
    assert "secret" not in str(raised.value)


def test_a_file_from_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes("\ufeffFC_TARGETS=set\r\nFC_ROOT_FIDS=3\r\n".encode())
    assert read_env_file(path) == {"FC_TARGETS": "set", "FC_ROOT_FIDS": "3"}


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"FC_TARGETS=\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_env_file(path)
