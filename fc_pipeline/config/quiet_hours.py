"""The hours of the day in which no yellow alert is sent."""

import re
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["QuietHours", "UnreadableHours"]

_FORM: Final = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*-\s*(\d{1,2})(?::(\d{2}))?(?:\s+([\w+/-]+))?", re.ASCII)


class UnreadableHours(ValueError):
    """A text that names no hours of the day."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of the day to another, over midnight where the second is the smaller one."""

    begin: time
    end: time
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> "QuietHours":
        """Read `22-07 UTC` or `22:30-6:15 Europe/Berlin`; without a zone it is UTC. Raises UnreadableHours."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise UnreadableHours(text)
        begin_hour, begin_minute, end_hour, end_minute, zone = found.groups()
        try:
            hours = cls(
                time(int(begin_hour), int(begin_minute or 0)),
                time(int(end_hour), int(end_minute or 0)),
                ZoneInfo(zone or "UTC"),
            )
        except (ValueError, OSError, ZoneInfoNotFoundError) as error:
            raise UnreadableHours(text) from error
        if hours.begin == hours.end:
            raise UnreadableHours(text)
        return hours

    def cover(self, moment: datetime) -> bool:
        """Whether a moment, which knows its zone, lies within them."""
        local = moment.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end
