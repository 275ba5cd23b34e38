"""The whole feed and all by-FID answers of a real Snapchain 0.14.2 node under protocol V21: every table equals them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.backfill.verify import verify
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.recorded_node import (
    recorded_answers,
    recorded_channel_reads,
    recorded_truth,
    served_node,
)
from fc_pipeline_tests.support.workbench import Workbench, live, workbench

HIDDEN_NAMES = 2
"""FIDs 1002 and 1003 hold a second fname that their lists leave out and nobody shows: only the feed has its proof."""


@pytest.fixture(scope="module")
def node_url(shared_fixtures: Path) -> Iterator[str]:
    with served_node(shared_fixtures) as url:
        yield url


@pytest.fixture(scope="module")
def truth(shared_fixtures: Path) -> dict[str, Any]:
    return recorded_truth(shared_fixtures)


@pytest.fixture
def bench(database: Database, lake: Path, node_url: str) -> Iterator[Workbench]:
    with workbench(database, lake, node_url) as opened:
        yield opened


def sync(bench: Workbench) -> None:
    bench.run()


def backfill(bench: Workbench) -> None:
    done = Backfill(bench.replica, "backfill", BackfillScope()).execute()
    assert done.unread == {}


def found(bench: Workbench) -> dict[str, Any]:
    """The live rows in the terms of the truth."""
    rows = bench.rows
    targets = "CASE WHEN target_hash IS NULL THEN target_url ELSE '0x' || encode(target_hash, 'hex') END"
    return {
        "cast_text": {
            r.hash: r.text
            for r in rows("SELECT '0x' || encode(hash, 'hex') AS hash, text FROM casts WHERE deleted_at IS NULL")
        },
        "reactions": _rows(bench, f"fid, type, {targets}, '0x' || encode(hash, 'hex')", "reactions"),
        "links": _rows(bench, "fid, type, target_fid, '0x' || encode(hash, 'hex')", "links"),
        "verifications": _rows(bench, "fid, address", "verifications"),
        "user_data": _rows(bench, "fid, type, value", "user_data"),
        "fnames": _rows(bench, "name, fid", "username_proofs"),
        "on_chain_events": _rows(
            bench, "chain_id, '0x' || encode(transaction_hash, 'hex'), log_index", "on_chain_events"
        ),
    }


def _rows(bench: Workbench, columns: str, table: str) -> list[list[Any]]:
    return sorted(list(row) for row in bench.rows(f"SELECT {columns} FROM {table} WHERE deleted_at IS NULL"))


def check(bench: Workbench, truth: dict[str, Any]) -> None:
    tables = found(bench)
    nul_free = {key: text.replace("\0", "") for key, text in truth["cast_text"].items()}
    assert tables["cast_text"] == nul_free
    for name in ("reactions", "links", "verifications", "fnames", "on_chain_events"):
        # Some lists are recorded with and without a filter.
        assert set(map(tuple, tables[name])) ^ set(map(tuple, truth[name])) == set(), name
    assert tables["user_data"] == sorted([f, t, v.replace("\0", "")] for f, t, v in truth["user_data"])


def test_the_feed_alone_makes_what_the_node_answers(bench: Workbench, truth: dict[str, Any]) -> None:
    sync(bench)
    check(bench, truth)
    assert bench.missing_hours() == []
    assert bench.rows("SELECT count(*) FROM pipeline.quarantine WHERE resolved_at IS NULL")[0][0] == 0


@pytest.mark.slow
def test_verify_and_backfill_after_the_feed_change_nothing_but_what_gasless_keys_say(
    bench: Workbench, truth: dict[str, Any]
) -> None:
    """No feed tells of them: five are listed, and each has signed a cast."""
    sync(bench)
    before = live(bench)
    verification = verify(bench.replica)
    assert (verification.compared.drift, verification.compared.history) == ({}, {"gasless_keys": 5})
    backfill(bench)
    after = live(bench)
    changed = {name: (len(rows - before[name]), len(before[name] - rows)) for name, rows in after.items()}
    assert {name: counts for name, counts in changed.items() if any(counts)} == {"casts": (5, 5), "signers": (5, 0)}
    check(bench, truth)
    again = verify(bench.replica)
    assert (again.compared.drift, again.compared.history) == ({}, {})


@pytest.mark.slow
def test_the_feed_after_a_backfill_makes_the_same(bench: Workbench, truth: dict[str, Any]) -> None:
    backfill(bench)
    hidden = len(truth["fnames"]) - len(found(bench)["fnames"])
    assert hidden == HIDDEN_NAMES == len(truth["hidden_fnames"])
    sync(bench)
    check(bench, truth)
    bench.rebuild()
    check(bench, truth)


def test_no_profile_shows_a_name_whose_proof_is_anothers(bench: Workbench) -> None:
    sync(bench)
    impostors = bench.rows(
        "SELECT p.fid, p.username FROM user_profiles AS p JOIN username_proofs AS n ON n.name = p.username "
        "WHERE n.deleted_at IS NULL AND n.fid <> p.fid"
    )
    assert impostors == []
    shown_elsewhere = bench.rows(
        "SELECT u.fid FROM user_data AS u JOIN username_proofs AS n ON n.name = u.value "
        "WHERE u.type = 'username' AND u.deleted_at IS NULL AND n.deleted_at IS NULL AND n.fid <> u.fid"
    )
    for (fid,) in shown_elsewhere:
        assert bench.rows("SELECT username FROM user_profiles WHERE fid = :fid", fid=fid) == [(None,)]


LIMITS = ("casts", "links", "reactions", "user_data", "verifications", "username_proofs")


def test_storage_is_what_the_node_answers(bench: Workbench, shared_fixtures: Path) -> None:
    """Units by type, the limit of each set, and Pro, of every FID, lenders and borrowers among them."""
    sync(bench)
    sums = ", ".join(f"sum({name}_limit)::bigint AS {name}" for name in LIMITS)
    stored = {row.fid: row for row in bench.rows(f"SELECT fid, {sums} FROM storage GROUP BY fid")}
    units = {(row.fid, row.unit_type): row.net for row in bench.rows("SELECT fid, unit_type, net FROM storage")}
    pro = dict(
        bench.rows("SELECT fid, extract(epoch FROM pro_until)::bigint FROM user_profiles WHERE pro_until IS NOT NULL")
    )
    answers = recorded_answers(shared_fixtures, "storageLimitsByFid")
    assert len(answers) > 60
    for fid, answer in answers.items():
        by_type = {one["unitType"].removeprefix("UnitType").lower(): one["unitSize"] for one in answer["unitDetails"]}
        assert {kind: units.get((fid, kind), 0) for kind in by_type} == by_type, fid
        limits = {one["name"].lower(): one["limit"] for one in answer["limits"]}
        assert {name: getattr(stored.get(fid), name, 0) for name in LIMITS} == {name: limits[name] for name in LIMITS}
        assert pro.get(fid, 0) == answer["tier_subscriptions"][0]["expires_at"], fid
    assert bench.rows("SELECT count(*) FROM storage WHERE lent > 0")[0][0] > 0


def test_the_keys_that_may_sign_are_those_that_the_node_lists(bench: Workbench, shared_fixtures: Path) -> None:
    """Of a key that was removed and added again the node also lists the old events: only adds count."""
    sync(bench)
    ours = bench.rows(
        "SELECT fid, '0x' || encode(key, 'hex') AS key FROM signers "
        "WHERE removed_at IS NULL AND key_type = 1 AND kind = 'onchain'"
    )
    listed = {
        (fid, one["key"])
        for fid, answer in recorded_answers(shared_fixtures, "signersByFid").items()
        for one in answer["signers"]
        if one["source"] == "SIGNER_SOURCE_ONCHAIN"
        and one["onChainEvent"]["signerEventBody"]["eventType"] == "SIGNER_EVENT_TYPE_ADD"
    }
    assert {(row.fid, row.key) for row in ours} == listed != set()
    removed = bench.rows("SELECT count(*) FROM signers WHERE removed_at IS NOT NULL")[0][0]
    with_app = bench.rows("SELECT count(*) FROM signers WHERE app_fid IS NOT NULL")[0][0]
    assert removed > 0
    assert with_app > 0


@pytest.mark.slow
def test_gasless_keys_are_those_that_the_node_lists(bench: Workbench, shared_fixtures: Path) -> None:
    """Of every FID; the one that gave itself up is listed no more, and was never read."""
    sync(bench)
    backfill(bench)
    times = ("addedAt", "lastUsedAt", "expiresAt")
    listed = {
        (fid, one["key"]): (one["requestFid"], one["scopes"], one["ttl"], *(one[name] for name in times))
        for fid, answer in recorded_answers(shared_fixtures, "signersByFid").items()
        for one in answer["signers"]
        if one["source"] == "SIGNER_SOURCE_OFFCHAIN"
    }
    seconds = ", ".join(f"extract(epoch FROM {n}_at)::bigint" for n in ("added", "last_used", "expires"))
    values = f"fid, '0x' || encode(key, 'hex'), app_fid, scopes, ttl_seconds, {seconds}"
    for table in ("gasless_keys", "signers WHERE kind = 'gasless'"):
        ours = {tuple(row[:2]): tuple(row[2:]) for row in bench.rows(f"SELECT {values} FROM {table}")}
        assert ours == listed != {}
    signed = bench.rows(
        "SELECT c.app_fid, k.app_fid FROM casts AS c JOIN signers AS k ON k.fid = c.fid AND k.key = c.signer "
        "WHERE k.kind = 'gasless'"
    )
    assert len(signed) == len(listed)
    assert all(row[0] == row[1] == 1000 for row in signed)


def test_embeds_are_those_of_the_casts_that_the_node_lists(bench: Workbench, shared_fixtures: Path) -> None:
    sync(bench)
    listed: set[tuple[str, int, str]] = set()
    for answer in recorded_answers(shared_fixtures, "castsByFid").values():
        for message in answer["messages"]:
            body = message["data"].get("castAddBody") or {}
            old = [{"url": url} for url in body.get("embedsDeprecated", ())]
            for position, embed in enumerate(body.get("embeds") or old):
                listed.add((message["hash"], position, embed.get("url") or embed["castId"]["hash"]))
    ours = bench.rows(
        "SELECT '0x' || encode(hash, 'hex'), position, coalesce(url, '0x' || encode(cast_hash, 'hex')) FROM embeds"
    )
    assert {tuple(row) for row in ours} == listed != set()


STATE = "CHANNEL_MEMBER_STATE_"
CHANNEL = "'0x' || encode(channel_id, 'hex') AS channel_id"


def test_who_owns_a_channel_and_how_it_is_set_up_is_what_the_node_answers(
    bench: Workbench, shared_fixtures: Path
) -> None:
    """A channel that was only renewed is none: the node says 400 to it, and no row is made."""
    sync(bench)
    rows = bench.rows(f"SELECT {CHANNEL}, *, extract(epoch FROM expires_at)::bigint AS expiry FROM channels")
    owners = recorded_channel_reads(shared_fixtures, "channelOwner")
    assert {r.channel_key: (r.fid or 0, r.owner_address, r.expiry) for r in rows} == {
        asked["channel_key"]: (answer["fid"], answer["ownerAddress"], answer["expiry"]) for asked, answer in owners
    }
    by_fid = recorded_answers(shared_fixtures, "channelsByFid")
    listed = {(fid, one["channelKey"]) for fid, answer in by_fid.items() for one in answer["channels"]}
    assert {(r.fid, r.channel_key) for r in rows if r.fid is not None} == listed != set()
    metadata = recorded_channel_reads(shared_fixtures, "channelMetadata")
    assert {r[0]: (r.name, r.description, r.image_url, r.header, r.rules, *modes(r)) for r in rows} == {
        asked["channelId"]: tuple(answer[name] for name in METADATA) for asked, answer in metadata
    }


METADATA = ("name", "description", "imageUrl", "header", "rules", "castingMode", "membershipMode")


def modes(row: Any) -> tuple[str, str]:
    return f"CASTING_MODE_{row.casting_mode.upper()}", f"MEMBERSHIP_MODE_{row.membership_mode.upper()}"


def test_members_pins_and_moderations_are_what_the_node_answers(bench: Workbench, shared_fixtures: Path) -> None:
    sync(bench)
    seconds = f"extract(epoch FROM timestamp)::bigint - {FARCASTER_EPOCH_UNIX} AS seconds"
    members = {
        (r.channel_id, r.fid): r for r in bench.rows(f"SELECT {CHANNEL}, fid, state, {seconds} FROM channel_members")
    }
    listed = {
        (asked["channelId"], one["fid"]): one["state"]
        for asked, answer in recorded_channel_reads(shared_fixtures, "channelMembers")
        if "stateFilter" not in asked
        for one in answer["members"]
    }
    assert {key: STATE + r.state.upper() for key, r in members.items()} == listed != {}
    for asked, answer in recorded_channel_reads(shared_fixtures, "channelMember"):
        row = members.get((asked["channelId"], int(asked["fid"])))
        assert (STATE + (row.state.upper() if row else "NONE")) == answer["state"], asked
        assert (row and row.seconds) == answer.get("lastActionTs"), asked
    by_fid = recorded_answers(shared_fixtures, "channelMembershipsByFid")
    assert listed == {
        (one["channelId"], fid): one["state"] for fid, answer in by_fid.items() for one in answer["memberships"]
    }
    cast = "'0x' || encode(cast_hash, 'hex') AS cast_hash"
    pins = {r.channel_id: r for r in bench.rows(f"SELECT {CHANNEL}, {cast}, fid FROM channel_pins")}
    for asked, answer in recorded_channel_reads(shared_fixtures, "channelPin"):
        pin = pins.get(asked["channelId"])
        shown = pin and pin.cast_hash and {"castHash": pin.cast_hash, "authorFid": pin.fid}
        assert shown == answer["pin"], asked
    moderations = bench.rows(f"SELECT {CHANNEL}, {cast}, action, fid FROM channel_moderations")
    assert {(r.channel_id, r.cast_hash, f"CHANNEL_MODERATE_ACTION_{r.action.upper()}", r.fid) for r in moderations} == {
        (asked["channelId"], one["castHash"], one["action"], one["authorFid"])
        for asked, answer in recorded_channel_reads(shared_fixtures, "channelModerations")
        for one in answer["moderations"]
    }


def test_followers_are_what_the_node_answers(bench: Workbench, shared_fixtures: Path) -> None:
    """Wrong spellings are no follows; a right one of a number that no channel has is one: four FIDs follow such.

    Its followers were not asked for, only what each FID follows.
    """
    sync(bench)
    seconds = f"extract(epoch FROM followed_at)::bigint - {FARCASTER_EPOCH_UNIX}"
    follows = {tuple(row) for row in bench.rows(f"SELECT {CHANNEL}, fid, {seconds} FROM channel_follows")}
    reads = recorded_channel_reads(shared_fixtures, "channelFollowers")
    asked_for = {asked["channelId"] for asked, _ in reads}
    assert {follow for follow in follows if follow[0] in asked_for} == {
        (asked["channelId"], one["fid"], one["followedAt"]) for asked, answer in reads for one in answer["followers"]
    }
    assert len([follow for follow in follows if follow[0] not in asked_for]) == 4
    by_fid = recorded_answers(shared_fixtures, "channelFollows")
    assert follows == {
        (one["channelId"], fid, one["followedAt"]) for fid, answer in by_fid.items() for one in answer["follows"]
    }
    following = {(channel, fid): at for channel, fid, at in follows}
    for asked, answer in recorded_channel_reads(shared_fixtures, "isFollowingChannel"):
        assert following.get((asked["channelId"], int(asked["fid"]))) == answer.get("followedAt"), asked
    likes = bench.rows("SELECT count(*) FROM reactions WHERE target_url LIKE '%erc721%' AND deleted_at IS NULL")[0][0]
    assert likes > len(follows) > 0
