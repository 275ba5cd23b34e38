"""What a run has done, counted by one thread and reported by another."""

from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

from fc_pipeline.feed.progress import Progress
from fc_pipeline.fold.outcomes import Written
from fc_pipeline.hours import Hour

HOUR = Hour.from_key("2026-11-01-10:00")
ONE_ROW = Written(inserted=1)


def test_what_is_added_during_a_report_is_in_the_next_one():
    progress = Progress()
    added: list[Thread] = []

    class ComparedHour(Hour):
        """An hour; while such are sorted, another thread adds one."""

        def __lt__(self, other: Any) -> bool:
            if not added:
                third = ComparedHour(HOUR.next.next.start_unix)
                added.append(Thread(target=progress.add_table, args=(third, "casts", ONE_ROW, None)))
                added[0].start()
                added[0].join(timeout=0.5)  # where the two exclude each other, it ends after the report
            return super().__lt__(other)

    for hour in (HOUR, HOUR.next):
        progress.add_table(ComparedHour(hour.start_unix), "casts", ONE_ROW, None)
    reported = [hour.hour for hour in progress.changed()]
    added[0].join()
    reported += [hour.hour for hour in progress.changed()]
    assert reported == [hour.hour for hour in progress.hours]
    assert len(reported) == 3


def test_a_report_is_read_while_the_hour_goes_on():
    progress = Progress()
    for table in ("casts", "links"):
        progress.add_table(HOUR, table, ONE_ROW, None)
    (reported,) = progress.changed()
    names = iter(reported.tables)
    next(names)
    progress.add_table(HOUR, "reactions", ONE_ROW, None)
    progress.add_table(HOUR, "casts", ONE_ROW, None)
    assert list(names) == ["links"]
    assert reported.rows_written == 2
    (later,) = progress.changed()
    assert later.rows_written == 4


@pytest.mark.parametrize(
    ("deleted", "shown"),
    [("x.x..", "13402"), ("xx.x.......", "24567"), (".......", "01234"), ("xxxxxx", "01234"), ("x", "0"), ("", "")],
)
def test_a_sample_has_live_rows_first(deleted: str, shown: str):
    progress = Progress()
    staged = pa.table(
        {"fid": pa.array(range(len(deleted)), pa.int64()), "deleted_at": [1 if row == "x" else None for row in deleted]}
    )
    progress.add_table(HOUR, "casts", ONE_ROW, staged)
    sample = progress.hours[0].tables["casts"].sample
    assert "".join(map(str, sample["fid"].to_pylist() if sample is not None else [])) == shown
