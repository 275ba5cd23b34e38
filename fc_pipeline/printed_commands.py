"""Commands in what we print: such that they work as printed, in the shell of who reads them."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

__all__ = ["runnable"]

_OURS: Final = (
    "up|sync|backfill|verify|targets|status|alerts|quarantine|lake|metrics|service|url|init|sample-hub|"
    "--debug|--help|--version"
)
_DAGSTERS: Final = "asset|job|dev"
_COMMAND: Final = re.compile(rf"(?<![\w./-])(?:(fc-pipeline)(?= (?:{_OURS})\b)|(dagster)(?= (?:{_DAGSTERS})\b))")
_MODULES: Final = {"fc-pipeline": "fc_pipeline.cli", "dagster": "dagster"}


def runnable(text: str, *, folder: Path | None = None) -> str:
    """The text with `fc-pipeline …` and `dagster …` as they can be typed in a folder, by default the current one.

    By path where the program is not on the PATH, as in a checkout whose .venv is not activated.
    """
    here = Path.cwd() if folder is None else folder.resolve()
    return _COMMAND.sub(lambda found: _typed(found[0], here), text)


def _typed(program: str, here: Path) -> str:
    script = Path(sys.executable).parent / program
    if not script.is_file():
        return f"{_shown(Path(sys.executable), here)} -m {_MODULES[program]}"
    on_path = shutil.which(program)
    if on_path is not None and os.path.samefile(on_path, script):
        return program
    return _shown(script, here)


def _shown(path: Path, here: Path) -> str:
    """From the current folder where it is below it, as in a checkout."""
    if not path.is_relative_to(here) or here == Path("/"):
        return shlex.quote(str(path))
    relative = str(path.relative_to(here))
    return shlex.quote(relative if "/" in relative else f"./{relative}")
