"""Channels where only targets are replicated: a slot is of its channel, whoever fills it."""

from collections.abc import Iterator

import pytest

from fc_pipeline.targets import sweep
from fc_pipeline.targets.owner import OwnerSettings
from fc_pipeline_tests.support.channels import channel_member, channel_pin, follow, id_bytes, registered
from fc_pipeline_tests.support.events import NOW, link, merge, merge_chain, verification
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.targets.test_selection import FRIEND, OTHER, ROOT, STRANGER, Filtered, opened

OWNER = "0x" + "a1" * 20
CAST = "0x" + "c3" * 20


@pytest.fixture
def filtered(replica: FoldedDatabase, redis_url: str) -> Iterator[Filtered]:
    with opened(replica, redis_url, OwnerSettings((ROOT,), ())) as made:
        yield made


def test_what_a_target_set_is_over_when_somebody_else_replaces_it(filtered: Filtered) -> None:
    pinned, banned = channel_pin(ROOT, "a", CAST), channel_member(ROOT, "a", OTHER, "BAN")
    filtered.fold(merge(pinned), merge(banned))
    filtered.fold(merge(channel_pin(STRANGER, "a", "0x"), pinned), merge(channel_member(STRANGER, "a", OTHER, "UNBAN")))
    assert filtered.replica.live("channel_pins", "cast_hash, fid") == [(None, STRANGER)]
    assert filtered.replica.live("channel_members", "fid, state, author_fid") == [(OTHER, "removed", STRANGER)]


def test_channels_are_known_and_owned_by_targets_only(filtered: Filtered) -> None:
    filtered.fold(merge_chain(registered("a", OWNER, block=1)), merge(verification(STRANGER, OWNER)))
    assert filtered.replica.live("channels", "channel_key, fid") == [("a", None)]
    filtered.fold(merge(verification(ROOT, OWNER)), merge(follow(STRANGER, "a")), merge(follow(ROOT, "a")))
    assert filtered.replica.live("channels", "channel_key, fid") == [("a", ROOT)]
    assert filtered.replica.live("channel_follows", "fid, channel_id") == [(ROOT, id_bytes("a"))]


def test_who_is_a_target_no_more_takes_no_channel_along(filtered: Filtered) -> None:
    filtered.fold(merge(link(ROOT, FRIEND)))
    filtered.fold(merge_chain(registered("a", OWNER, block=1)), merge(verification(FRIEND, OWNER)))
    filtered.fold(merge(channel_pin(FRIEND, "a", CAST)), merge(follow(FRIEND, "a")))
    filtered.complete()
    filtered.fold(merge(link(ROOT, FRIEND, NOW + 1, add=False)))
    dropped = sweep.settle_former(filtered.replica.engine, "drop")
    assert dropped.keys() >= {"verifications", "reactions", "channel_follows"}
    assert filtered.replica.live("channels", "channel_key, fid") == [("a", None)]
    assert filtered.replica.live("channel_pins", "fid, channel_id") == [(FRIEND, id_bytes("a"))]
    assert filtered.replica.rows("SELECT * FROM channel_follows") == []
