"""Feeds: page by page they are what a plain reading of the tables says, also while rows arrive."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline_tests.serving.asking import ask, walk
from fc_pipeline_tests.serving.plain_model import PlainModel, hex_of

PAGE_SIZES = {1: 8, 6: 40, 100: 100_000}
"""Rows on a page, and up to how long a list is walked in such pages."""
Feed = tuple[str, dict[str, Any], list[bytes]]
"""A call, what it is asked, and the casts that it has to answer, in their order."""


def viewers(network: PlainModel) -> list[int | None]:
    """Nobody, somebody who blocks, somebody who is blocked, and who follows the most."""
    blocks = [row for row in network.links if row.type == "block"]
    return [
        None,
        *{row.fid for row in blocks[:1]},
        *{row.target_fid for row in blocks[-1:]},
        most(network.following_of),
    ]


def most(counter: "Counter[Any]") -> Any:
    """The key that is counted most; of several the greatest, in whatever order rows were read."""
    return max(counter.items(), key=lambda item: (item[1], item[0]))[0]


def answers_to(casts: list[Any], key: bytes) -> list[Any]:
    return [cast for cast in casts if cast.parent_hash == key]


def feeds(network: PlainModel, viewer: int | None) -> Iterator[Feed]:
    casts = list(network.casts.values())
    author = most(network.casts_by)
    by_replies = sorted((key for key in network.replies_to if key), key=lambda key: (-network.replies_to[key], key))
    replied = max(by_replies[:10], key=lambda key: len(network.newest(answers_to(casts, key), viewer)))
    url = most(Counter(cast.parent_url for cast in casts if cast.parent_url))
    deepest = max(casts, key=lambda cast: network.threads[cast.hash][1])
    fan = most(Counter(row.fid for row in network.reactions if row.type == "like"))
    last = network.last_reaction()
    for replies in (False, True):
        if viewer is not None:
            wanted = network.of_authors(network.followed_by(viewer), viewer, replies=replies)
            yield "following_feed", {"viewer": viewer, "with_replies": replies}, wanted
        fids = sorted(network.profiles)[:20]
        wanted = network.of_authors(fids, viewer, replies=replies)
        yield "feed_of", {"fids": fids, "viewer": viewer, "with_replies": replies}, wanted
        wanted = network.of_authors([author], viewer, replies=replies)
        yield "user_casts", {"author": author, "viewer": viewer, "with_replies": replies}, wanted
    wanted = network.newest([cast for cast in casts if cast.parent_url == url], viewer)
    yield "channel_feed", {"url": url, "viewer": viewer}, wanted
    wanted = network.newest(answers_to(casts, replied), viewer)
    yield "replies", {"cast_hash": hex_of(replied), "viewer": viewer}, wanted
    for key in (replied, deepest.hash):
        wanted = network.conversation(key, viewer)
        yield "conversation", {"cast_hash": key.hex().upper(), "viewer": viewer}, wanted
    for kind in ("like", "recast"):
        wanted = network.reacted_to(fan, kind, viewer)
        yield "liked_casts", {"user_fid": fan, "viewer": viewer, "reaction": kind}, wanted
    yield "top_casts", {"author": author, "viewer": viewer}, network.top(author, viewer)
    for span in (timedelta(seconds=30), timedelta(days=30)):
        wanted = network.trending(last - span, last, viewer)
        yield "trending", {"span": span, "until": last, "viewer": viewer}, wanted


def test_they_are_what_a_plain_reading_says_walked_in_pages_of_any_size(network: PlainModel) -> None:
    found = Counter[str]()
    with network.database.engine.connect() as connection:
        for viewer in viewers(network):
            for name, values, wanted in feeds(network, viewer):
                shown = [network.shown(key, viewer) for key in wanted[:150]]
                for page_size in (size for size, longest in PAGE_SIZES.items() if len(wanted) <= longest):
                    rows = walk(connection, name, page_size, **values)
                    assert [row["hash"] for row in rows] == [hex_of(key) for key in wanted], (name, values)
                    assert rows[:150] == shown, (name, values)
                found[name] += len(wanted)
    assert all(found.values()), found


def test_casts_by_hash_come_in_the_order_asked_for_and_blocks_hold(network: PlainModel) -> None:
    casts = list(network.casts.values())[:60]
    keys = [cast.hash for cast in casts]
    with network.database.engine.connect() as connection:
        for viewer in viewers(network):
            hidden = network.hidden_from(viewer)
            hashes = [hex_of(b"\0" * 20), *(key.hex() for key in keys), keys[0].hex()]
            rows = walk_once(connection, "casts_by_hash", hashes=hashes, viewer=viewer)
            assert rows == [network.shown(cast.hash, viewer) for cast in casts if cast.fid not in hidden]
            (one,) = walk_once(connection, "cast_by_hash", cast_hash=hex_of(keys[0]))
            assert one == network.shown(keys[0], None)


def walk_once(connection: sa.Connection, call: str, /, **values: Any) -> list[dict[str, Any]]:
    rows = ask(connection, call, **values)
    return [{key: value for key, value in row.items() if key != "next_cursor"} for row in rows]


def test_a_viewer_sees_nobody_of_a_block_in_either_direction(generated: PlainModel) -> None:
    pairs = {(row.fid, row.target_fid) for row in generated.links if row.type == "block"}
    pairs |= {(target, fid) for fid, target in pairs}
    pairs = {(viewer, author) for viewer, author in pairs if generated.casts_by[author]}
    assert pairs
    with generated.database.engine.connect() as connection:
        for viewer, author in pairs:
            assert ask(connection, "user_casts", author=author)
            for name in ("user_casts", "top_casts"):
                assert ask(connection, name, author=author, viewer=viewer) == []
            (key, *_) = (cast.hash for cast in generated.casts.values() if cast.fid == author)
            assert ask(connection, "cast_by_hash", cast_hash=hex_of(key), viewer=viewer) == []
            thread = ask(connection, "conversation", cast_hash=hex_of(key), viewer=viewer, page_size=100)
            assert author not in {row["fid"] for row in thread}


def test_what_trends_most_may_be_hidden_from_a_viewer(generated: PlainModel) -> None:
    viewer, last = 2**40, generated.last_reaction()
    first = last - timedelta(days=30)
    ranked = generated.trending(first, last, None)
    blocked = {generated.casts[key].fid for key in ranked[:12]}
    wanted = [hex_of(key) for key in ranked if generated.casts[key].fid not in blocked]
    assert wanted
    with generated.database.engine.connect() as connection:  # rolled back
        block = "INSERT INTO links (fid, type, target_fid, version) VALUES (:viewer, 'block', :fid, 1)"
        connection.execute(sa.text(block), [{"viewer": viewer, "fid": fid} for fid in blocked])
        rows = ask(connection, "trending", span=last - first, until=last, viewer=viewer, page_size=1)
        assert [row["hash"] for row in rows] == wanted[:1]


@pytest.mark.parametrize("name", ["user_casts", "following_feed", "channel_feed", "replies", "liked_casts"])
def test_nothing_comes_twice_or_is_skipped_while_rows_arrive(generated: PlainModel, name: str) -> None:
    viewer = most(generated.following_of)
    values, wanted = next((v, w) for n, v, w in feeds(generated, viewer) if n == name)
    assert len(wanted) > 2
    with generated.database.engine.connect() as connection:
        later = max(cast.at for cast in generated.casts.values()) + timedelta(hours=1)
        first = generated.casts[wanted[0]]

        def arrive(page: int) -> None:
            """One more of what the feed shows, as it comes to the network."""
            key, at = page.to_bytes(20, "big"), later + timedelta(seconds=page)
            same = {"key": key, "at": at, "fid": first.fid, "parent": first.parent_hash, "url": first.parent_url}
            connection.execute(
                sa.text(
                    "INSERT INTO casts (hash, fid, timestamp, block_time, text, parent_hash, parent_url, version) "
                    "VALUES (:key, :fid, :at, :at, 'new', :parent, :url, 1)"
                ),
                same,
            )
            connection.execute(
                sa.text(
                    "INSERT INTO reactions (fid, type, target, target_fid, target_hash, timestamp, version) "
                    "VALUES (:fan, 'like', :key, :fid, :key, :at, 1)"
                ),
                {**same, "fan": values.get("user_fid", 1)},
            )

        rows = walk(connection, name, 2, arrive, **values)
        assert [row["hash"] for row in rows] == [hex_of(key) for key in wanted]
        fresh = ask(connection, name, page_size=1, **values)
        assert fresh[0]["hash"] not in {hex_of(key) for key in wanted}  # what came is on the first page of a new walk
        connection.rollback()
