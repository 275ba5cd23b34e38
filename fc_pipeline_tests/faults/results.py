"""What came of each scenario, as the table that `make test-faults` prints."""

import os
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pytest

SEED_VARIABLE = "FC_FAULT_SEED"
SEEDS_VARIABLE = "FC_FAULT_SEEDS"


@dataclass(frozen=True)
class Result:
    """One scenario: how it ended, and the four numbers."""

    scenario: str
    seed: int
    events: int
    numbers: tuple[int, int, int, int]
    seconds: float
    ended: str = "complete"


@dataclass(frozen=True)
class Caught:
    """A planted bug, and the test that noticed it, if any."""

    bug: str
    test: str | None
    seconds: float


CAUGHT: list[Caught] = []
RESULTS: list[Result] = []
"""Of this session, in the order of the tests."""


def _seeds_of_the_matrix() -> list[int]:
    """The one of FC_FAULT_SEED, to repeat a failure; else FC_FAULT_SEEDS (default 3) new ones."""
    if given := os.environ.get(SEED_VARIABLE):
        return [int(given)]
    return [secrets.randbelow(1_000_000) for _ in range(int(os.environ.get(SEEDS_VARIABLE, "3")))]


SEEDS = _seeds_of_the_matrix()
IN_THE_MATRIX = pytest.mark.faults
every_seed = pytest.mark.parametrize("seed", [pytest.param(seed, marks=IN_THE_MATRIX) for seed in SEEDS])
"""For a scenario of the full matrix: once per seed."""
with_a_fast_one = pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=IN_THE_MATRIX) for seed in SEEDS)])
"""For a scenario that `make test` plays too, always with the same seed."""
with_a_slow_one = pytest.mark.parametrize(
    "seed", [pytest.param(1, marks=pytest.mark.slow), *(pytest.param(seed, marks=IN_THE_MATRIX) for seed in SEEDS)]
)
"""The same for `make test-slow`."""


def each_with_every_seed(
    name: str, cases: Iterable[str], *, fast: Collection[str], slow: Collection[str] = ()
) -> pytest.MarkDecorator:
    """For scenarios of several cases: each once per seed in the full matrix, some in `make test` or `test-slow` too."""
    quick = [pytest.param(case, 1) for case in fast]
    quick += [pytest.param(case, 1, marks=pytest.mark.slow) for case in slow]
    matrix = [pytest.param(case, seed, marks=IN_THE_MATRIX) for case in cases for seed in SEEDS]
    return pytest.mark.parametrize((name, "seed"), [*quick, *matrix])


def table(results: Sequence[Result]) -> list[str]:
    """The lines of the table."""
    width = max(len(result.scenario) for result in results)
    head = f"{'scenario':{width}}  {'seed':>6}  {'events':>6}  lost  dupl  stale  phantom  seconds  ended"
    lines = [head, "-" * len(head)]
    for result in results:
        lost, duplicate, stale, phantom = result.numbers
        lines.append(
            f"{result.scenario:{width}}  {result.seed:>6}  {result.events:>6}  {lost:>4}  {duplicate:>4}  "
            f"{stale:>5}  {phantom:>7}  {result.seconds:>7.1f}  {result.ended[:60]}"
        )
    return lines


def table_of_bugs(caught: Sequence[Caught]) -> list[str]:
    """Which planted bugs were noticed, and by which test first."""
    width = max(len(one.bug) for one in caught)
    head = f"{'planted bug':{width}}  seconds  noticed by"
    noticed = sum(one.test is not None for one in caught)
    return [
        head,
        "-" * len(head),
        *(f"{one.bug:{width}}  {one.seconds:>7.1f}  {one.test or '- NOT NOTICED -'}" for one in caught),
        f"{noticed} of {len(caught)} noticed",
    ]
