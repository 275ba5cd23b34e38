"""@names are put back where a message has them, whatever its positions are."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from fc_pipeline_tests.serving.plain_model import PlainModel, with_names

TEXTS = st.text(st.sampled_from("ab €é🦄\n\u200d\\'%"), max_size=12)
POSITIONS = st.lists(st.one_of(st.none(), st.integers(-3, 40), st.sampled_from([2**31 - 1, -(2**31)])), max_size=6)
MENTIONS = st.lists(st.one_of(st.none(), st.integers(1, 30), st.just(2**40)), max_size=6)
REBUILT = sa.text("SELECT api.cast_text(:text, CAST(:mentions AS bigint[]), CAST(:positions AS integer[]))")


@pytest.fixture(scope="module")
def connection(generated: PlainModel) -> Iterator[sa.Connection]:
    with generated.database.engine.connect() as opened:
        yield opened


@settings(max_examples=300)
@given(text=TEXTS, mentions=MENTIONS, positions=POSITIONS)
def test_text_is_rebuilt_as_a_plain_reading_says(
    generated: PlainModel, connection: sa.Connection, text: str, mentions: list[int | None], positions: list[int | None]
) -> None:
    rebuilt = connection.execute(REBUILT, {"text": text, "mentions": mentions, "positions": positions}).scalar_one()
    pairs = [(m, p) for m, p in zip(mentions, positions, strict=False) if m is not None and p is not None]
    wanted = with_names(
        text, [m for m, _ in pairs], [p for _, p in pairs], lambda f: "@" + (generated.name_of(f) or f"!{f}")
    )
    assert rebuilt == wanted


def test_without_mentions_it_is_the_text(connection: sa.Connection) -> None:
    for mentions, positions in ((None, None), ([], []), ([3], None), (None, [0])):
        values = {"text": "hé", "mentions": mentions, "positions": positions}
        assert connection.execute(REBUILT, values).scalar_one() == "hé"
