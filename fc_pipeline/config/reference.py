"""README's table of settings and the `.env` of a new project, from the declarations. `make docs` runs this module."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fc_pipeline.config.settings import Settings, declared_settings

__all__ = ["env_file", "settings_markdown", "with_settings"]

_TABLE: Final = re.compile(r"(<!-- settings: [^>]* -->\n).*?(<!-- /settings -->)", re.DOTALL)

_ENV_HEAD: Final = """\
# Settings of fc_pipeline: NAME=value, one per line. What is unset has the default that the README's table says.
# Nothing needs to be set: Postgres, Redis and a sample hub with generated data come with the package.

"""


def settings_markdown() -> str:
    """The table of settings as Markdown."""
    return "".join(f"{line}\n" for line in ("| variable | meaning | default |", "|---|---|---|", *_rows()))


def with_settings(page: str) -> str:
    """The page with the table between its markers. Raises ValueError where it has none."""
    found, count = _TABLE.subn(lambda marks: f"{marks[1]}{settings_markdown()}{marks[2]}", page)
    if count != 1:
        raise ValueError(f"{count} places for the table of settings, not one")
    return found


def env_file() -> str:
    """What a new `.env` says: settings that many need, each as a comment."""
    examples = ((name, setting.example) for name, setting in declared_settings().items())
    return _ENV_HEAD + "".join(f"# {name}={example}\n" for name, example in examples if example is not None)


def _rows() -> Iterator[str]:
    for name, setting in declared_settings().items():
        meaning = setting.meaning.replace("{example}", setting.example or "")
        default = Settings.model_fields[name.removeprefix("FC_").lower()].default
        yield f"| `{name}` | {meaning} | {setting.shown_default or _shown(default)} |"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int | float):
        return f"{default:g}"
    return f"`{default}`" if isinstance(default, str) else "none"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_settings(path.read_text(encoding="utf-8")), encoding="utf-8")
