"""Channel reads beyond what the recordings of a node hold: pages, tokens, spellings, owners (protocol-tables 3.6)."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.channels import (
    ASSETS,
    channel_id,
    channel_member,
    channel_moderate,
    channel_pin,
    channel_update,
    follow,
    registered,
    renewed,
    transferred,
)
from fc_pipeline_tests.support.events import (
    NOW,
    Event,
    blocks_of,
    hex_hash,
    merge,
    merge_chain,
    prune,
    reaction,
    verification,
    verification_remove,
)

OWNER, BUYER = "0x" + "a1" * 20, "0x" + "b2" * 20
ODD, EVEN = (1, 3, 5, 7), (2, 4, 6, 8)
"""FIDs of shard 1 and of shard 2."""
NAMES = ("b", "a", "c")


def lines(*events: Event, other: tuple[Event, ...] = ()) -> Iterator[bytes]:
    """A log of two shards."""
    for shard, placed in ((1, events), (2, other)):
        yield from (raw for raws in blocks_of(placed, shard=shard).values() for raw in raws)


def everywhere(*messages: Any) -> tuple[list[Event], tuple[Event, ...]]:
    """As the block shard's messages are replayed."""
    return [merge(one) for one in messages], tuple(merge(one) for one in messages)


@pytest.fixture(scope="module")
def hub() -> Iterator[httpx.Client]:
    """Channels of two addresses; channel `a` has members, moderated casts and followers on both shards."""
    contracts = [merge_chain(registered(name, OWNER, block=n)) for n, name in enumerate(NAMES, 1)]
    contracts += [
        merge_chain(transferred("c", BUYER, block=9)),
        merge_chain(renewed("a", block=10, expiry=2_100_000_000)),
    ]
    replayed, copies = everywhere(
        verification(1, OWNER),
        *(channel_member(1, "a", fid, "BAN" if fid == 4 else "ADD_MEMBER", NOW + fid) for fid in (*EVEN, *ODD)),
        *(channel_member(1, name, 5) for name in NAMES[::2]),
        *(channel_moderate(1, "a", hex_hash(n)) for n in range(5)),
        channel_pin(1, "a", hex_hash(1)),
        channel_pin(1, "a", "0x", NOW - 5),
        channel_update(1, "a", name="", castingMode="CASTING_MODE_NONE"),
    )
    follows = {fid: merge(follow(fid, "a", NOW + fid)) for fid in (*ODD, *EVEN)}
    log = lines(*contracts, *replayed, *(follows[fid] for fid in ODD), other=(*copies, *(follows[fid] for fid in EVEN)))
    with serving(log_from_lines(log)) as base_url, httpx.Client(base_url=base_url) as client:
        yield client


A = channel_id("a")
LISTS = {
    f"channelMembers?channelId={A}": ("members", 8),
    f"channelModerations?channelId={A}": ("moderations", 5),
    "channelMembershipsByFid?fid=5": ("memberships", 3),
    f"channelFollowers?channelId={A}": ("followers", 8),
    "channelFollows?fid=5": ("follows", 1),
    f"channelsByAddress?address={OWNER}": ("channels", 2),
    "channelsByFid?fid=1": ("channels", 2),
}
OWNED = tuple(query for query in LISTS if query.startswith("channelsBy"))


def walk(hub: httpx.Client, query: str, page_size: int) -> list[list[Any]]:
    """The pages, until one without a token."""
    pages: list[list[Any]] = []
    token = ""
    for _ in range(20):
        answer = hub.get(f"/v1/{query}&page_size={page_size}&pageToken={token.replace('+', '%2B')}").json()
        pages.append(answer.pop(LISTS[query][0]))
        token = answer.pop("nextPageToken", "")
        assert answer == {}
        if not token:
            return pages
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("page_size", [1, 2, 3, 5000])
@pytest.mark.parametrize("query", LISTS)
def test_pages_give_every_row_once(hub: httpx.Client, query: str, page_size: int) -> None:
    """They end at a missing token, with an empty last page where the one before was full."""
    name, count = LISTS[query]
    whole = hub.get(f"/v1/{query}").json()
    assert list(whole) == [name]
    assert len(whole[name]) == count
    rows = list(itertools.chain.from_iterable(walk(hub, query, page_size)))
    if name == "followers":  # a page of each shard in turn
        assert sorted(map(str, rows)) == sorted(map(str, whole[name]))
    else:
        assert rows == whole[name]


@pytest.mark.parametrize(
    "query", [query for query in LISTS if not query.startswith(("channelsByFid", "channelFollowers"))]
)
def test_reverse_turns_the_order(hub: httpx.Client, query: str) -> None:
    name, _ = LISTS[query]
    assert hub.get(f"/v1/{query}&reverse=true").json()[name] == hub.get(f"/v1/{query}").json()[name][::-1]


def test_lists_are_in_the_order_of_their_keys(hub: httpx.Client) -> None:
    fids = {"members": sorted((*ODD, *EVEN)), "followers": [*ODD, *EVEN]}
    for query, (name, _) in LISTS.items():
        rows = hub.get(f"/v1/{query}").json()[name]
        match name:
            case "members" | "followers":
                assert [row["fid"] for row in rows] == fids[name]
            case "memberships":
                assert [row["channelId"] for row in rows] == sorted(map(channel_id, NAMES))
            case "moderations":
                assert [row["castHash"] for row in rows] == sorted(hex_hash(n) for n in range(5))
            case "channels":
                assert [row["channelKey"] for row in rows] == ["a", "b"]
            case _:
                assert rows == [{"channelId": A, "followedAt": NOW + 5}]


@pytest.mark.parametrize("query", LISTS)
def test_a_page_of_nothing_is_refused_but_of_owned_channels_empty(hub: httpx.Client, query: str) -> None:
    answer = hub.get(f"/v1/{query}&page_size=0")
    if query in OWNED:
        assert (answer.status_code, answer.json()) == (200, {"channels": []})
    else:
        refused(answer, "InvalidArgument")


@pytest.mark.parametrize("query", LISTS)
def test_a_token_of_another_list_is_refused_but_of_owned_channels_not_looked_at(hub: httpx.Client, query: str) -> None:
    answer = hub.get(f"/v1/{query}&page_token=AAAAAAAA")
    if query in OWNED:
        assert answer.status_code == 200
    else:
        refused(answer, "InvalidArgument")
    assert hub.get(f"/v1/{query}&page_token=!").text == "Invalid query parameters: Invalid symbol 33, offset 0."


def refused(answer: httpx.Response, code: str) -> str:
    """The error sentence of a JSON 400 with that gRPC status."""
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    body = answer.json()
    assert body["error_detail"].startswith(f"status: {code}, message: "), body
    return body["error"]


OF_A_CHANNEL = (
    "channelMembers?", "channelMember?fid=1&", "channelPin?", "channelModerations?", "channelMetadata?",
    "channelFollowers?", "channelFollowerCount?", "isFollowingChannel?fid=1&",
)  # fmt: skip
FOLLOW_READS = ("channelFollowers?", "channelFollowerCount?", "isFollowingChannel?fid=1&")


@pytest.mark.parametrize("query", OF_A_CHANNEL)
def test_ids_of_another_length_are_refused_and_other_spellings_of_hex_are_not(hub: httpx.Client, query: str) -> None:
    for bad in ("0x12", A + "00", "zz", ""):
        refused(hub.get(f"/v1/{query}channelId={bad}"), "InvalidArgument")
    shown = hub.get(f"/v1/{query}channelId={A}")
    assert shown.status_code == 200
    assert hub.get(f"/v1/{query}channelId={A[2:].upper()}").content == shown.content


@pytest.mark.parametrize("query", OF_A_CHANNEL)
def test_of_a_channel_that_nobody_registered_only_follows_can_be_asked(hub: httpx.Client, query: str) -> None:
    answer = hub.get(f"/v1/{query}channelId={channel_id('nobody')}")
    if query in FOLLOW_READS:
        assert answer.json() in ({"followers": []}, {"count": 0}, {"following": False})
    else:
        assert refused(answer, "NotFound").startswith("Failed to get channel")


@pytest.mark.parametrize("fid", [0, 2**32, 2**63])
def test_fids_that_no_message_can_name(hub: httpx.Client, fid: int) -> None:
    for query in (
        "channelMembershipsByFid?",
        "channelFollows?",
        f"channelMember?channelId={A}&",
        f"isFollowingChannel?channelId={A}&",
    ):
        refused(hub.get(f"/v1/{query}fid={fid}"), "InvalidArgument")
    assert hub.get(f"/v1/channelsByFid?fid={fid}").json() == {"channels": []}


@pytest.mark.parametrize("address", ["0x", "0x12", OWNER + "00", "zz"])
def test_addresses_that_are_none(hub: httpx.Client, address: str) -> None:
    refused(hub.get(f"/v1/channelsByAddress?address={address}"), "InvalidArgument")


def test_members_are_filtered_by_the_name_of_a_state(hub: httpx.Client) -> None:
    for spelling in ("stateFilter", "state_filter"):
        banned = hub.get(f"/v1/channelMembers?channelId={A}&{spelling}=CHANNEL_MEMBER_STATE_BANNED").json()
        assert banned == {"members": [{"fid": 4, "state": "CHANNEL_MEMBER_STATE_BANNED"}]}
        everyone = hub.get(f"/v1/channelMembers?channelId={A}&{spelling}=CHANNEL_MEMBER_STATE_NONE").json()
        assert len(everyone["members"]) == 8


def test_what_a_channel_shows(hub: httpx.Client) -> None:
    assert hub.get("/v1/channelOwner?channel_key=a").json() == {
        "fid": 1, "ownerAddress": OWNER, "expiry": 2_100_000_000,
    }  # fmt: skip
    assert hub.get(f"/v1/channelPin?channelId={A}").json() == {"pin": None}
    assert hub.get(f"/v1/channelFollowerCount?channelId={A}").json() == {"count": 8}
    assert hub.get(f"/v1/channelMetadata?channelId={A}").json() == {
        "name": "", "description": None, "imageUrl": None, "header": None, "rules": None,
        "castingMode": "CASTING_MODE_MEMBERS_ONLY", "membershipMode": "MEMBERSHIP_MODE_APPROVAL",
    }  # fmt: skip
    refused(hub.get("/v1/channelOwner?channel_key=A"), "NotFound")
    parked = {"channelKey": "c", "fid": 0, "ownerAddress": BUYER, "expiry": 2_000_000_000}
    assert hub.get(f"/v1/channelsByAddress?address={BUYER}").json() == {"channels": [parked]}


def test_followers_cannot_be_told_where_a_shard_is_not_hosted() -> None:
    with serving(
        log_from_lines(lines(merge(follow(1, "a")), other=(merge(follow(2, "a")),))), hidden_shards={2}
    ) as url:
        for name in ("channelFollowers", "channelFollowerCount"):
            refused(httpx.get(f"{url}/v1/{name}?channelId={A}"), "FailedPrecondition")


def owner(*events: Event, other: tuple[Event, ...] = ()) -> int:
    """Whose channel `a` of OWNER is after these events."""
    log = log_from_lines(lines(merge_chain(registered("a", OWNER, block=1)), *events, other=other))
    with serving(log) as url:
        return httpx.get(f"{url}/v1/channelOwner?channel_key=a").json()["fid"]


def test_the_newest_verification_owns_whatever_is_pruned() -> None:
    """3 verifies after 1 and takes it back; 2, of the other shard, is the newest of all (protocol-tables 3.2)."""
    first, second = verification(1, OWNER, NOW), verification(3, OWNER, NOW + 1)
    back = verification_remove(3, OWNER, NOW + 2)
    assert owner() == 0
    assert owner(merge(first), merge(second)) == 3
    assert owner(merge(second), merge(first), prune(second)) == 3
    assert owner(merge(first), merge(second), merge(back, second)) == 1
    assert owner(merge(back), merge(second), merge(first)) == 1
    assert owner(merge(first), other=(merge(verification(2, OWNER, NOW + 3)), prune(first))) == 2


def test_foreign_copies_of_verifications_change_no_list() -> None:
    """Shard 2 has no rents of FID 1, so that it prunes all but the last at once."""
    kept = [verification(1, f"0x{n:040x}", NOW + n) for n in range(3)]
    copies = [event for one, gone in zip(kept, [None, *kept], strict=False) for event in (
        merge(one), *([prune(gone)] if gone else ())
    )]  # fmt: skip
    with serving(log_from_lines(lines(*map(merge, kept), other=tuple(copies)))) as url:
        listed = httpx.get(f"{url}/v1/verificationsByFid?fid=1").json()["messages"]
    assert [one["hash"] for one in listed] == [one["hash"] for one in kept]


@pytest.mark.parametrize(
    "url",
    [
        ASSETS + "01", ASSETS + "-1", ASSETS + "", ASSETS + "1/", ASSETS + str(2**256), ASSETS + "9" * 79,
        ASSETS + "\u0661", ASSETS.lower() + "1", "EIP155" + ASSETS[6:] + "1", ASSETS.replace("11155111", "1") + "1",
    ],
)  # fmt: skip
def test_any_other_spelling_of_an_asset_is_an_ordinary_like(url: str) -> None:
    with serving(
        log_from_lines(lines(merge(reaction(1, url)), merge(reaction(3, ASSETS + "1", "RECAST"))))
    ) as base_url:
        for fid in (1, 3):
            assert httpx.get(f"{base_url}/v1/channelFollows?fid={fid}").json() == {"follows": []}
            assert len(httpx.get(f"{base_url}/v1/reactionsByFid?fid={fid}&reaction_type=None").json()["messages"]) == 1


def test_a_slot_is_the_last_message_of_the_first_shard() -> None:
    """Copies of the other shard come late and count for nothing; what was replaced wins again when it is sent again."""
    one, two = (channel_member(1, "a", 7, action, NOW) for action in ("BAN", "UNBAN"))
    log = lines(
        merge_chain(registered("a", OWNER, block=1)), merge(one), merge(two, one), merge(one, two),
        other=(merge(one), merge(two, one)),
    )  # fmt: skip
    with serving(log_from_lines(log)) as url:
        member = httpx.get(f"{url}/v1/channelMember?channelId={A}&fid=7").json()
    assert member == {"state": "CHANNEL_MEMBER_STATE_BANNED", "lastActionTs": NOW}
