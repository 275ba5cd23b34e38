"""The core: over any sequence of looks and restarts, each turn is told once and each end once."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.alerts.condition import Condition, Reading, Severity
from fc_pipeline.alerts.turns import MAX_WAITING_SECONDS, Memory, Turn, advance

RED, YELLOW = Severity.RED, Severity.YELLOW
KEYS = ("check:a", "check:b", "run:a")
HERE = ("here",)


def condition(key: str, severity: Severity, after_seconds: float = 0.0) -> Condition:
    return Condition(key, severity, f"{key} is {severity}", after_seconds=after_seconds)


def kept(memory: Memory) -> Memory:
    """As a watcher finds it that starts anew."""
    return msgspec.json.decode(msgspec.json.encode(memory), type=Memory)


def tell(memory: Memory) -> tuple[Memory, list[Turn]]:
    """Every address accepts all."""
    return Memory(memory.standing), list(memory.turns)


STATES = st.fixed_dictionaries({key: st.sampled_from([None, YELLOW, RED]) for key in KEYS})
LOOKS = st.lists(
    st.tuples(STATES, st.frozensets(st.sampled_from(["check", "run"])), st.booleans(), st.booleans()), max_size=30
)
Look = tuple[dict[str, Severity | None], frozenset[str], bool, bool]


def reading_of(states: dict[str, Severity | None], unread: frozenset[str]) -> Reading:
    known = {key: severity for key, severity in states.items() if key.partition(":")[0] not in unread}
    return Reading(tuple(condition(key, one) for key, one in known.items() if one is not None), unread)


@given(LOOKS)
def test_each_turn_is_told_once_and_each_end_once(looks: list[Look]) -> None:
    memory = Memory()
    told: dict[str, list[str]] = {key: [] for key in KEYS}
    real: dict[str, list[str]] = {key: [] for key in KEYS}
    for number, (states, unread, restart, _) in enumerate(looks):
        memory = advance(
            kept(memory) if restart else memory, reading_of(states, unread), number * 20.0, HERE, is_quiet=False
        )
        memory, turns = tell(memory)
        for turn in turns:
            told[turn.condition.key].append("over" if turn.is_over else turn.condition.severity.value)
        for key, severity in states.items():
            if key.partition(":")[0] not in unread:
                _follow(real[key], severity)
    assert told == real


def _follow(history: list[str], severity: Severity | None) -> None:
    """What should have been told, by a plain model: begins, becomes worse, is over."""
    last = history[-1] if history else "over"
    if severity is None:
        if last != "over":
            history.append("over")
    elif last == "over" or (last == "yellow" and severity is RED):
        history.append(severity.value)


@given(LOOKS)
def test_quiet_hours_hold_back_yellow_alone_and_lose_nothing_that_stands(looks: list[Look]) -> None:
    memory = Memory()
    told: dict[str, list[str]] = {key: [] for key in KEYS}
    now = 0.0
    for states, unread, _, is_quiet in looks:
        now += 20.0
        memory, turns = tell(advance(memory, reading_of(states, unread), now, HERE, is_quiet=is_quiet))
        for turn in turns:
            told[turn.condition.key].append("over" if turn.is_over else turn.condition.severity.value)
        assert not is_quiet or all(
            turn.condition.severity is RED or "red" in told[turn.condition.key] for turn in turns
        )
        red = [key for key, one in states.items() if one is RED and key.partition(":")[0] not in unread]
        assert all(_last_episode(told[key])[-1] == "red" for key in red), "what is red never waits"
    # At last the hours are not quiet, and all is well.
    memory, turns = tell(advance(memory, Reading(), now + 20, HERE, is_quiet=False))
    for turn in turns:
        told[turn.condition.key].append("over" if turn.is_over else turn.condition.severity.value)
    assert memory == Memory()
    for history in told.values():
        assert not history or history[-1] == "over"
        assert all(not (one == two == "over") and one != two for one, two in pairwise(history))


def _last_episode(history: list[str]) -> list[str]:
    return history or [""]


def test_what_does_not_stand_long_enough_is_not_told() -> None:
    brief = Reading((condition("check:a", RED, after_seconds=15),))
    memory, turns = tell(advance(Memory(), brief, 0.0, HERE, is_quiet=False))
    assert turns == []
    over, turns = tell(advance(memory, Reading(), 10.0, HERE, is_quiet=False))
    assert (over, turns) == (Memory(), [])
    _, turns = tell(advance(memory, brief, 20.0, HERE, is_quiet=False))
    assert [(turn.is_over, turn.since_unix) for turn in turns] == [(False, 0.0)]


def test_what_an_address_has_not_accepted_waits_for_it_alone_and_not_for_ever() -> None:
    memory = advance(Memory(), Reading((condition("check:a", RED),)), 0.0, ("here", "there"), is_quiet=False)
    (turn,) = memory.turns
    assert turn.waiting == {"here", "there"}
    accepted = Memory(memory.standing, (msgspec.structs.replace(turn, waiting=frozenset({"there"})),))
    later = advance(kept(accepted), Reading(unread=frozenset({"check"})), 20.0, ("here", "there"), is_quiet=False)
    assert [turn.waiting for turn in later.turns] == [{"there"}]
    assert advance(later, Reading(unread=frozenset({"check"})), 40.0, ("here",), is_quiet=False).turns == ()
    too_late = MAX_WAITING_SECONDS + 1
    assert advance(later, Reading(unread=frozenset({"check"})), too_late, ("there",), is_quiet=False).turns == ()


@pytest.mark.parametrize("then", [None, YELLOW])
def test_an_area_that_cannot_be_read_is_neither_worse_nor_over(then: Severity | None) -> None:
    memory, _ = tell(advance(Memory(), reading_of({"check:a": RED}, frozenset()), 0.0, HERE, is_quiet=False))
    memory, turns = tell(advance(memory, Reading(unread=frozenset({"check"})), 20.0, HERE, is_quiet=False))
    assert turns == []
    _, turns = tell(advance(memory, reading_of({"check:a": then}, frozenset()), 40.0, HERE, is_quiet=False))
    assert [turn.is_over for turn in turns] == [True] * (then is None), "easing to yellow is told at the end"
