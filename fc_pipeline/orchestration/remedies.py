"""What to do about something, in the words of a copy: its own assets, sensors and jobs, and where commands work.

Remedies are written for the pipeline as a code location of its own, with its project folder.
"""

import re
from typing import Final

from fc_pipeline.orchestration.names import Names

__all__ = ["remedy_in"]

_MODULE: Final = "-m fc_pipeline.definitions"
_OF_USER: Final = "-m YOUR_DEFINITIONS"
_ASSET: Final = re.compile(r"(--select |\b[Mm]aterialise )([a-z_]+)\b(?!/)")
_SENSOR_OR_JOB: Final = re.compile(
    r"(?<![\w./])(?:(?:hub_event|gap|difference|key|target|standstill|closed_hours)_sensor|micro_batches)\b"
)
_PROGRAM: Final = r"(?:\S*/)?(?<![\w-])(?:fc-pipeline|python\S* -m fc_pipeline\.cli)"
_AS_JOB: Final = {"quarantine replay": "replay_quarantine", "backfill --gaps": "heal_gaps"}
"""Commands that a job does in the same way."""
_JOB_OF: Final = re.compile(rf"(`?){_PROGRAM} ({'|'.join(_AS_JOB)})\1")
_COMMAND: Final = re.compile(rf"{_PROGRAM} [a-z-]")
_WHERE: Final = " (fc-pipeline works in a folder of `fc-pipeline init` whose .env has the settings of {})"


def remedy_in(names: Names, text: str) -> str:
    """The text as it holds for a copy with a prefix; without one it stays as it is. Twice is as good as once."""
    if not names.are_prefixed:
        return text
    told = text.replace(_MODULE, _OF_USER)
    told = _ASSET.sub(lambda found: found[1] + names.key(found[2]).to_user_string(), told)
    told = _SENSOR_OR_JOB.sub(lambda found: names.of(found[0]), told)
    told = _JOB_OF.sub(lambda found: f"run the job {names.of(_AS_JOB[found[2]])}", told)
    where = _WHERE.format("/".join(names.key_prefix))
    return told + where if _COMMAND.search(told.replace(where, "")) and where not in told else told
