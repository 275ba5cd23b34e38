"""Search finds the casts with the words, newest first, and no others."""

import re
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy.exc import DBAPIError

from fc_pipeline_tests.serving.asking import ask, walk
from fc_pipeline_tests.serving.plain_model import PlainModel, hex_of
from fc_pipeline_tests.serving.test_feeds import most, viewers

QUERIES: dict[str, Callable[[list[str]], bool]] = {
    "gm": lambda w: "gm" in w,
    "GM shipped": lambda w: {"gm", "shipped"} <= set(w),
    '"shipped on"': lambda w: ("shipped", "on") in pairwise(w),
    "gm -shipped": lambda w: "gm" in w and "shipped" not in w,
    "gm or shipped": lambda w: bool({"gm", "shipped"} & set(w)),
    "pro*": lambda w: any(one.startswith("pro") for one in w),
    "gm pro*": lambda w: "gm" in w and any(one.startswith("pro") for one in w),
}
"""What is asked for, and whether a text's words are that."""


def plain_words(text: str) -> list[str]:
    """Of casts in words of letters alone."""
    return re.findall(r"[a-z]+", text.lower())


def test_all_casts_with_the_words_are_found_newest_first(generated: PlainModel) -> None:
    plain = [cast for cast in generated.casts.values() if re.fullmatch(r"[A-Za-z ]+", cast.text)]
    last = max(cast.at for cast in plain)
    author = most(generated.casts_by)
    url = next(cast.parent_url for cast in plain if cast.parent_url)
    middle = sorted(cast.at for cast in plain)[len(plain) // 2]
    with generated.database.engine.connect() as connection:
        for viewer in viewers(generated)[:3]:
            for words, has in QUERIES.items():
                found = [cast for cast in plain if has(plain_words(cast.text))]
                for values, kept in (
                    ({}, found),
                    ({"author": author}, [cast for cast in found if cast.fid == author]),
                    ({"url": url}, [cast for cast in found if cast.parent_url == url]),
                    ({"since": middle}, [cast for cast in found if cast.at >= middle]),
                    ({"until": middle, "since": middle - timedelta(hours=2)}, [c for c in found if c.at < middle]),
                ):
                    rows = walk(connection, "search_casts", 9, words=words, viewer=viewer, **values)
                    plain_rows = [row["hash"] for row in rows if _is_plain(generated, row["hash"])]
                    assert plain_rows == [hex_of(key) for key in generated.newest(kept, viewer)], (words, values)
        assert last >= middle


def _is_plain(network: PlainModel, key: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z ]+", network.casts[bytes.fromhex(key[2:])].text))


@pytest.mark.parametrize(
    "text", ["it's* \\* fu'n*", "a & b | !c:*", "“quotes” 🦄 emoji", "%s %(a)s x", "gm<->it", "x:*"]
)
def test_any_text_can_be_searched_for(generated: PlainModel, text: str) -> None:
    with generated.database.engine.connect() as connection:
        assert len(walk(connection, "search_casts", 50, words=text)) < len(generated.casts)


@pytest.mark.parametrize("text", ["(((", "<->", "", "-gm", "*", "' \\", None])
def test_text_without_a_word_to_find_is_refused(generated: PlainModel, text: str | None) -> None:
    with generated.database.engine.connect() as connection, pytest.raises(DBAPIError, match="nothing to look for"):
        ask(connection, "search_casts", words=text)
