"""Whose history is covered, by what the ledger and the known gaps say."""

import pytest

from fc_pipeline.heights import HeightRange
from fc_pipeline.reconcile.covered_history import ShardHistory
from fc_pipeline.store.covered_heights import CoveredSpan


def covered_spans(*spans: tuple[int, int, str]) -> list[CoveredSpan]:
    """Spans from their heights and tables."""
    return [CoveredSpan(HeightRange(first, last), frozenset(names.split(","))) for first, last, names in spans]


@pytest.mark.parametrize(
    ("lines", "gaps", "since", "until", "covered"),
    [
        ([(1, 50, "casts,links"), (51, 90, "casts")], [], None, 90, True),
        ([(1, 50, "casts"), (52, 90, "casts")], [], None, 90, False),
        ([(1, 50, "casts"), (52, 90, "casts")], [], 52, 90, True),
        ([(1, 50, "casts"), (52, 90, "casts")], [], 51, 90, False),
        ([(1, 50, "casts"), (51, 90, "links")], [], None, 50, True),
        ([(1, 50, "casts"), (51, 90, "links")], [], None, 51, False),
        ([(40, 90, "casts")], [], None, 90, False),
        ([(40, 90, "casts")], [], 40, 91, False),
        # Within covered heights, a poison page was stepped over.
        ([(1, 90, "casts")], [(60, 61)], None, 90, False),
        ([(1, 90, "casts")], [(60, 61)], 62, 90, True),
        ([(1, 90, "casts")], [(60, 61)], None, 59, True),
        ([], [], 1, 1, False),
    ],
)
def test_coverage_of_a_table(
    lines: list[tuple[int, int, str]], gaps: list[tuple[int, int]], since: int | None, until: int, covered: bool
) -> None:
    history = ShardHistory.of(covered_spans(*lines), gaps, origin=1)
    assert history.is_covered("casts", since=since, until=until) is covered


def test_the_last_heights_or_all_that_there_are_to_be() -> None:
    history = ShardHistory.of(covered_spans((100, 150, "casts"), (160, 200, "casts")), [], origin=100)
    assert history.is_covered_for("casts", 40, until=200)
    assert not history.is_covered_for("casts", 41, until=200)
    assert history.is_covered_for("casts", 1_000, until=150)
    assert not history.is_covered_for("casts", 40, until=155)
    assert history.top == 200
    assert ShardHistory.of([], [], origin=1).top is None
