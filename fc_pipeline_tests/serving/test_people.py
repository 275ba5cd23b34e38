"""Users, follows, reactions, notifications and activity: what a plain reading of the tables says."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline_tests.serving.asking import ask, walk
from fc_pipeline_tests.serving.plain_model import PlainModel, Shown, hex_of
from fc_pipeline_tests.serving.test_feeds import most, viewers, walk_once


def shown_users(network: PlainModel, fids: list[int], viewer: int | None) -> list[Shown]:
    return [network.shown_user(fid, viewer) for fid in fids]


def test_lists_of_users_walked_in_pages_of_any_size(network: PlainModel) -> None:
    followed, fan = most(network.followers_of), most(network.following_of)
    liked = max((key for key in network.casts), key=lambda key: network.reactions_to["like", key])
    back = {row.fid for row in network.follows if row.target_fid == fan}
    mine = [(row.at, row.target_fid) for row in network.follows if row.fid == fan]
    likes = [(row.at, row.fid) for row in network.reactions if (row.type, row.target_hash) == ("like", liked)]
    with network.database.engine.connect() as connection:
        for viewer in viewers(network):
            lists: list[tuple[str, dict[str, Any], list[int]]] = [
                (
                    "followers",
                    {"user_fid": followed},
                    network.people([(r.at, r.fid) for r in network.follows if r.target_fid == followed], viewer),
                ),
                ("following", {"user_fid": fan}, network.people(mine, viewer)),
                ("mutual_follows", {"user_fid": fan}, network.people([m for m in mine if m[1] in back], viewer)),
                ("cast_reactions", {"cast_hash": hex_of(liked)}, network.people(likes, viewer)),
            ]
            for name, values, wanted in lists:
                for page_size in (2, 100):
                    rows = walk(connection, name, page_size, viewer=viewer, **values)
                    assert rows == shown_users(network, wanted, viewer), name


def test_users_by_fid_name_prefix_and_address(network: PlainModel) -> None:
    named = [row for row in network.profiles.values() if row.username]
    with network.database.engine.connect() as connection:
        fids = sorted(network.profiles, reverse=True)[:50]
        for viewer in viewers(network):
            seen = [fid for fid in fids if fid not in network.hidden_from(viewer)]
            rows = walk_once(connection, "users", fids=[*fids, 999_999_999, fids[0]], viewer=viewer)
            assert rows == shown_users(network, seen, viewer)
        for row in named[:20]:
            found = {one["fid"] for one in ask(connection, "user_by_name", name="@" + row.username.upper())}
            assert found == {r.fid for r in named if r.username.lower() == row.username.lower()}
            start = row.username[:2].upper()
            found_fids = [one["fid"] for one in ask(connection, "users_by_prefix", prefix=start, page_size=100)]
            texts = {r.fid: (r.username or "", r.display_name or "") for r in network.profiles.values()}
            wanted = {fid for fid, names in texts.items() if any(n.lower().startswith(start.lower()) for n in names)}
            ordered = sorted(wanted, key=lambda fid: (-network.followers_of[fid], fid))
            assert found_fids == ordered[:100]
        verified = network.database.rows("SELECT fid, address FROM verifications WHERE deleted_at IS NULL")
        owned = [(r.fid, r.custody_address) for r in network.profiles.values() if r.custody_address]
        asked = [address.replace("0x", "0X") for _, address in (*verified[:5], *owned[:5])]
        wanted = {fid for fid, address in (*verified, *owned) if address.replace("0x", "0X") in asked}
        found_fids = [one["fid"] for one in ask(connection, "users_by_address", addresses=asked)]
        assert found_fids == sorted(wanted & network.profiles.keys())
        assert found_fids


def test_suggested_are_those_whom_the_most_of_the_followed_follow(network: PlainModel) -> None:
    fan = most(network.following_of)
    near = sorted(network.followed_by(fan))[:200]
    score = Counter(far for fid in near for far in sorted(network.followed_by(fid))[:200])
    left_out = network.followed_by(fan) | network.hidden_from(fan) | {fan}
    wanted = [fid for fid in score if fid not in left_out and fid in network.profiles]
    wanted.sort(key=lambda fid: (-score[fid], fid))
    with network.database.engine.connect() as connection:
        rows = walk_once(connection, "suggested_follows", user_fid=fan, page_size=100)
    assert rows == shown_users(network, wanted[:100], fan)
    assert rows


def test_contexts_of_a_viewer(network: PlainModel) -> None:
    viewer = most(Counter(row.fid for row in network.reactions))
    keys, fids = list(network.casts)[:99], sorted(network.profiles)[:100]
    with network.database.engine.connect() as connection:
        rows = ask(connection, "cast_context", viewer=viewer, hashes=[hex_of(key) for key in (*keys, b"\1" * 20)])
        authors = [network.casts[key].fid for key in keys]
        wanted = [
            (hex_of(key), *((viewer, kind, fid, key) in network.reacted for kind in ("like", "recast")))
            for key, fid in zip(keys, authors, strict=True)
        ]
        assert [tuple(row.values()) for row in rows] == [*wanted, (hex_of(b"\1" * 20), False, False)]
        for viewer in (most(network.following_of), *(row.fid for row in network.links if row.type == "block")):
            rows = ask(connection, "user_context", viewer=viewer, fids=fids)
            assert [tuple(row.values()) for row in rows] == [
                (fid, *(pair in network.linked for pair in _pairs(viewer, fid))) for fid in fids
            ]


def _pairs(viewer: int, fid: int) -> list[tuple[int, str, int]]:
    return [(a, kind, b) for kind in ("follow", "block") for a, b in ((viewer, fid), (fid, viewer))]


@pytest.mark.parametrize("page_size", [1, 3, 100])
def test_notifications_walked_in_pages_of_any_size(network: PlainModel, page_size: int) -> None:
    received = Counter(row.target_fid for row in network.reactions)
    mentioned = Counter(fid for cast in network.casts.values() for fid in cast.mentions or [])
    kinds = Counter[str]()
    with network.database.engine.connect() as connection:
        for fid in {most(received), most(mentioned), most(network.followers_of), 999_999_999}:
            rows = walk(connection, "notifications", page_size, user_fid=fid)
            told = [(r["kind"], r["network_time"], r["fids"], r["total"], r["cast_hash"]) for r in rows]
            assert told == network.notifications(fid)
            for row in rows:
                cast = network.casts[bytes.fromhex(row["cast_hash"][2:])] if row["cast_hash"] else None
                assert row["text"] == (network.text_of(cast) if cast else None)
                assert row["usernames"] == [network.name_of(one) for one in row["fids"]]
            kinds += Counter(row["kind"] for row in rows)
            some = walk(connection, "notifications", page_size, user_fid=fid, kinds=["like", "mention"])
            assert [r["kind"] for r in some] == [r["kind"] for r in rows if r["kind"] in ("like", "mention")]
    assert {"reply", "like", "recast"} <= kinds.keys()


def test_notifications_stay_where_they_are_while_likes_arrive(generated: PlainModel) -> None:
    fid = most(Counter(row.target_fid for row in generated.reactions))
    wanted = generated.notifications(fid)
    liked = [key for _, _, _, _, key in wanted if key]
    later = generated.last_reaction() + timedelta(seconds=5)
    with generated.database.engine.connect() as connection:

        def arrive(page: int) -> None:
            """A like of what is told of last, which would be the first row of a new walk."""
            key = bytes.fromhex(liked[-1 - page % len(liked)][2:])
            connection.execute(
                sa.text(
                    "INSERT INTO reactions (fid, type, target, target_fid, target_hash, timestamp, version) VALUES "
                    "(:fan, 'like', :key, :fid, :key, :at, 1)"
                ),
                {"fan": 10_000 + page, "key": key, "fid": fid, "at": later + timedelta(seconds=page)},
            )

        rows = walk(connection, "notifications", 2, arrive, user_fid=fid)
        assert [(r["kind"], r["network_time"], r["total"], r["cast_hash"]) for r in rows] == [
            (kind, at, total, key) for kind, at, _, total, key in wanted
        ]
        (first, *_) = ask(connection, "notifications", user_fid=fid, page_size=1)
        assert first["network_time"] > wanted[0][1]
        connection.rollback()


def test_activity_by_user_and_by_hour(network: PlainModel) -> None:
    rows = network.database.rows("SELECT * FROM fid_activity WHERE deleted_at IS NULL ORDER BY hour DESC")
    last = max(row.hour for row in rows)
    actions = Counter[int]()
    for row in rows:
        if row.hour >= last - timedelta(hours=1):
            actions[row.fid] += row.casts + row.likes + row.recasts + row.follows
    with network.database.engine.connect() as connection:
        found = ask(connection, "active_users", until=last, span=timedelta(hours=1), page_size=10)
        ordered = sorted((fid for fid in actions if actions[fid]), key=lambda fid: (-actions[fid], fid))
        assert [(row["fid"], row["actions"]) for row in found] == [(fid, actions[fid]) for fid in ordered[:10]]
        busy = ordered[0]
        hours = ask(connection, "user_statistics", user_fid=busy, since=last - timedelta(days=400))
        assert [(h["hour"], h["casts"], h["likes_received"]) for h in hours] == [
            (r.hour, r.casts, r.likes_received) for r in rows if r.fid == busy and r.hour >= last - timedelta(days=400)
        ]
        by_hour = ask(connection, "hourly_statistics", since=last)
        done = [row for row in rows if row.hour == last]
        assert [(h["hour"], h["casts"], h["likes"], h["active_users"]) for h in by_hour] == [
            (
                last,
                sum(row.casts for row in done),
                sum(row.likes for row in done),
                sum(1 for row in done if row.casts + row.likes + row.recasts + row.follows),
            )
        ]
