"""A follow is a like of a channel's asset URL, in this spelling and no other (protocol-tables 3.5)."""

from typing import Any

import pytest

from fc_pipeline_tests.support.channels import ASSETS, channel_id, follow, id_bytes
from fc_pipeline_tests.support.events import FARCASTER_EPOCH_UNIX, NOW, Event, blocks_of, merge, prune, reaction, revoke
from fc_pipeline_tests.support.folded import FoldedDatabase


def test_a_follow_lasts_as_long_as_its_like(replica: FoldedDatabase) -> None:
    def fold(height: int, *events: Event) -> list[tuple[Any, ...]]:
        replica.fold_blocks(blocks_of(list(events), first_height=height))
        seconds = f"extract(epoch FROM followed_at)::bigint - {FARCASTER_EPOCH_UNIX}"
        return replica.live("channel_follows", f"fid, channel_id, {seconds}")

    both = [(1, id_bytes("a"), NOW), (2, id_bytes("a"), NOW)]
    assert fold(1_000, *(merge(follow(fid, "a")) for fid in (1, 2))) == both
    again = follow(1, "a", NOW + 5)
    assert fold(1_001, merge(again, follow(1, "a")))[0] == (1, id_bytes("a"), NOW + 5)
    assert fold(1_002, merge(follow(1, "a", NOW + 6, add=False), again)) == both[1:]
    assert fold(1_003, revoke(follow(2, "a"))) == []
    assert fold(1_004, merge(follow(2, "a", NOW + 9)))[0][0] == 2
    assert fold(1_005, prune(follow(2, "a", NOW + 9))) == []


@pytest.mark.parametrize("number", [0, 1, 2**32, 2**255 + 2**31, 2**256 - 1, int(channel_id("a"), 16)])
def test_a_number_is_the_id_in_decimal(replica: FoldedDatabase, number: int) -> None:
    replica.fold([merge(reaction(1, f"{ASSETS}{number}"))])
    assert replica.live("channel_follows", "fid, channel_id") == [(1, number.to_bytes(32))]
    replica.fold_blocks(blocks_of([prune(reaction(1, f"{ASSETS}{number}"))], first_height=2_000))
    assert replica.rows("SELECT * FROM channel_follows") == []


NUMBER = int(channel_id("a"), 16)


@pytest.mark.parametrize(
    "url",
    [
        f"{ASSETS}{NUMBER}/",
        f"{ASSETS}0{NUMBER}",
        f"{ASSETS}00",
        f"{ASSETS}+{NUMBER}",
        f"{ASSETS}-1",
        f"{ASSETS} {NUMBER}",
        f"{ASSETS}{NUMBER}\n",
        f"{ASSETS}{NUMBER}\\",
        f"{ASSETS}1e5",
        f"{ASSETS}1_0",
        f"{ASSETS}١٢",
        f"{ASSETS}{channel_id('a')}",
        f"{ASSETS}{2**256}",
        f"{ASSETS}{10**78}",
        f"{ASSETS}{'9' * 200}",
        ASSETS,
        ASSETS[:-1],
        f"{ASSETS.lower()}{NUMBER}",
        f"{ASSETS.replace('eip155', 'EIP155')}{NUMBER}",
        f"{ASSETS.replace('11155111', '1')}{NUMBER}",
        f"{ASSETS.replace('11155111', '011155111')}{NUMBER}",
        f"{ASSETS.replace('erc721', 'erc1155')}{NUMBER}",
        f"{ASSETS.replace('/', '//', 1)}{NUMBER}",
        f" {ASSETS}{NUMBER}",
    ],
)
def test_any_other_spelling_is_an_ordinary_like(replica: FoldedDatabase, url: str) -> None:
    replica.fold([merge(reaction(1, url))])
    assert replica.live("reactions", "fid, target_url") == [(1, url)]
    assert replica.rows("SELECT * FROM channel_follows") == []
    replica.fold_blocks(blocks_of([prune(reaction(1, url))], first_height=2_000))
    assert replica.live("reactions", "fid, target_url") == []


def test_a_recast_of_a_channel_is_no_follow(replica: FoldedDatabase) -> None:
    replica.fold([merge(reaction(1, f"{ASSETS}{NUMBER}", "RECAST"))])
    assert replica.rows("SELECT * FROM channel_follows") == []
