from datetime import UTC, datetime

import pytest

from fc_pipeline.config.quiet_hours import QuietHours, UnreadableHours


@pytest.mark.parametrize(
    ("text", "hour", "minute", "covers"),
    [
        ("22-07 UTC", 21, 59, False),
        ("22-07 UTC", 22, 0, True),
        ("22-07", 6, 59, True),
        ("22-07", 7, 0, False),
        ("12-14", 13, 0, True),
        ("12-14", 14, 0, False),
        ("22:30-6:15 Europe/Berlin", 21, 29, False),  # 22:29 in the winter
        ("22:30-6:15 Europe/Berlin", 21, 30, True),
    ],
)
def test_what_they_cover(text: str, hour: int, minute: int, covers: bool) -> None:
    assert QuietHours.parse(text).cover(datetime(2026, 11, 30, hour, minute, tzinfo=UTC)) is covers


@pytest.mark.parametrize(
    "text", ["", "22", "22-25", "22-22", "22-07 Nowhere/Land", "at night", "22:61-7", "22-07 ../x"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UnreadableHours):
        QuietHours.parse(text)
