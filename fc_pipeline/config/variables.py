"""The FC_ variables of the environment and of `.env`, and warnings of those that have no effect."""

import logging
import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from fc_pipeline.config.env_file import read_env_file
from fc_pipeline.config.project import project_root
from fc_pipeline.errors import ConfigError

__all__ = ["OF_PROCESSES", "is_to_warn_of", "read_variables", "warn_of_idle", "warn_of_unknown"]

OF_PROCESSES: Final = frozenset({"FC_PIPELINE_INSTANCE", "FC_PIPELINE_UP"})
"""Set by `up` for the processes that it starts; not settings."""

_OF_TESTS: Final = "FC_LIVE_"

_log = logging.getLogger(__name__)
_warned_of: Final[set[str]] = set()


def read_variables(environ: Mapping[str, str], dotenv: Path | str | None) -> dict[str, str]:
    """The FC_ variables that have a value: an empty one counts as unset, in the environment too."""
    found: dict[str, str] = {}
    file = _dotenv_file(dotenv)
    for source in (read_env_file(file) if file else {}, environ):
        found.update({name: value.strip() for name, value in source.items() if value and name.startswith("FC_")})
    return {name: value for name, value in found.items() if value}


def _dotenv_file(dotenv: Path | str | None) -> Path | None:
    if dotenv is None:
        return None
    here = Path.cwd() / dotenv
    if here.is_file() or Path(dotenv).is_absolute():
        return here if here.is_file() else None
    try:
        in_project = project_root() / dotenv
    except ConfigError:  # outside a checkout there is no second place to look
        return None
    return in_project if in_project.is_file() else None


def warn_of_unknown(variables: Collection[str], settings: Collection[str]) -> None:
    """Warn of FC_ variables that nothing reads: a misspelt one would leave its default in force.

    Once per process, and not in those that `up` starts: `up` itself has warned.
    """
    if "FC_PIPELINE_UP" in variables:
        return
    known = OF_PROCESSES.union(settings)
    for name in sorted(variables):
        if name not in known and not name.startswith(_OF_TESTS) and name not in _warned_of:
            _warned_of.add(name)
            close = get_close_matches(name, sorted(known), n=1)
            _log.warning("%s is no setting of fc_pipeline%s", name, f"; did you mean {close[0]}?" if close else "")


def warn_of_idle(variables: Mapping[str, str], of_the_target_set: Collection[str]) -> None:
    """Warn of settings of the target set that have no effect, since every user is replicated; as often as above."""
    if "FC_PIPELINE_UP" in variables or variables.get("FC_TARGETS", "all") != "all":
        return
    idle = [name for name in of_the_target_set if name in variables]
    if idle and "FC_TARGETS" not in _warned_of:
        _warned_of.add("FC_TARGETS")
        _log.warning("%s: no effect without FC_TARGETS=set: every user is replicated", ", ".join(idle))


def is_to_warn_of(name: str) -> bool:
    """Whether this process is to say that a setting has no effect on what it found: once, as above."""
    if "FC_PIPELINE_UP" in os.environ or name in _warned_of:
        return False
    _warned_of.add(name)
    return True
