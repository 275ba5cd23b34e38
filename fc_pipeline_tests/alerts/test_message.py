from fc_pipeline.alerts.condition import Condition, Severity
from fc_pipeline.alerts.message import MAX_TURNS, compose
from fc_pipeline.alerts.turns import Turn

FRESH = Condition(
    "check:hub_events/fresh",
    Severity.YELLOW,
    "check fresh of hub_events",
    detail="shard 1 is 75 s behind the hub",
    remedy="wait",
    runbook="docs/checks.md#fresh",
    link="http://127.0.0.1:3000/assets/hub_events",
)
DAEMON = Condition("process:daemon", Severity.RED, "Dagster's daemon does not run")


def turn(condition: Condition, *, is_over: bool = False) -> Turn:
    return Turn(condition, 1_793_500_000.0, 1_793_500_130.0, is_over, frozenset({"here"}))


def test_one_turn_says_what_to_do_and_where_to_look() -> None:
    message = compose([turn(FRESH)], "host:/data")
    assert (message.title, message.kind) == ("fc_pipeline yellow: check fresh of hub_events", "yellow")
    assert message.body.splitlines() == [
        "YELLOW: check fresh of hub_events",
        "shard 1 is 75 s behind the hub",
        "To do: wait",
        "Runbook: docs/checks.md#fresh",
        "Look: http://127.0.0.1:3000/assets/hub_events",
        "Since 2026-11-01 02:26:40 UTC",
        "",
        "host:/data",
    ]


def test_its_end_says_how_long_it_lasted() -> None:
    message = compose([turn(FRESH, is_over=True)], "host:/data")
    assert (message.title, message.kind) == ("fc_pipeline over: check fresh of hub_events", "over")
    assert "after 2 min, since 2026-11-01 02:26:40 UTC" in message.body


def test_many_turns_are_one_message_the_worst_first() -> None:
    message = compose([turn(FRESH), turn(FRESH, is_over=True), turn(DAEMON)], "host:/data")
    assert (message.title, message.kind) == ("fc_pipeline 1 red, 1 yellow, 1 over", "red")
    assert message.body.index("RED: ") < message.body.index("YELLOW: ") < message.body.index("OVER: ")


def test_of_very_many_each_is_named_and_the_first_are_written_out() -> None:
    titles = [f"check {n:02}" for n in range(MAX_TURNS + 9)]
    many = [turn(Condition(f"check:{title}", Severity.RED, title, remedy="mend it")) for title in titles]
    body = compose(many, "host:/data").body
    assert [body.count(f"RED: {title}") for title in titles] == [1] * len(titles)
    assert body.count("To do: mend it") == MAX_TURNS


def test_what_others_wrote_stays_on_its_line_and_shows_no_password() -> None:
    loud = Condition(
        "check:a", Severity.RED, "a", detail="x\nRED: \x1b[31mpostgresql://me:geheim@host/db does not answer"
    )
    body = compose([turn(loud)], "host:/data").body
    assert "geheim" not in body
    assert "\x1b" not in body
    assert body.count("\nRED: ") == 0
