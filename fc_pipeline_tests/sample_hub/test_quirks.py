"""What a node does that nobody would expect, beyond the recordings: names, loans, reset keys (hub-api 12)."""

from typing import Any

import httpx
import pytest

from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    Event,
    Json,
    blocks_of,
    chain_event,
    merge,
    merge_chain,
    merge_proof,
    message,
    proof,
    prune,
)


def told(path: str, *events: Event, other: tuple[Event, ...] = (), now_unix: float = HOUR_UNIX) -> Any:
    """What a hub of two shards answers."""
    blocks = (blocks_of(placed, shard=shard) for shard, placed in ((1, events), (2, other)))
    log = log_from_lines(raw for shard in blocks for raws in shard.values() for raw in raws)
    with serving(log, clock=lambda: now_unix) as url:
        return httpx.get(f"{url}/v1/{path}").json()


def names_of(fid: int, *events: Event) -> list[str]:
    return [one["name"] for one in told(f"userNameProofsByFid?fid={fid}", *events)["proofs"]]


def test_of_two_fnames_the_list_has_the_later_and_of_a_renewed_one_none() -> None:
    """The one entry per FID is deleted with whatever proof it had, even by its own renewal (hub-api T9)."""
    first, second, moved = proof("a", 1, 100), proof("b", 1, 101), proof("b", 3, 102)
    assert names_of(1, merge_proof(first)) == ["a"]
    assert names_of(1, merge_proof(first), merge_proof(second)) == ["b"]
    assert names_of(1, merge_proof(first), merge_proof(second), merge_proof(moved, second)) == []
    assert names_of(3, merge_proof(first), merge_proof(second), merge_proof(moved, second)) == ["b"]
    assert names_of(1, merge_proof(first), merge_proof(proof("a", 1, 103), first)) == []
    assert told("userNameProofByName?name=a", merge_proof(first), merge_proof(second)) == first


def test_a_released_name_is_told_with_fid_0() -> None:
    mine, released = proof("a", 1, 100), proof("a", 0, 101)
    assert told("userNameProofByName?name=a", merge_proof(mine), merge_proof(released, mine)) == released
    assert names_of(0, merge_proof(mine), merge_proof(released, mine)) == []


def test_ens_names_are_listed_before_the_fname_and_all_of_them() -> None:
    ens = [proof(f"{name}.eth", 1, at, "ENS_L1") for name, at in (("y", 90), ("x", 120))]
    assert names_of(1, merge_proof(proof("a", 1, 100)), *map(merge_proof, ens)) == ["y.eth", "x.eth", "a"]
    renewed = proof("y.eth", 1, 130, "ENS_L1")
    assert names_of(1, *map(merge_proof, ens), merge_proof(renewed, ens[0])) == ["x.eth", "y.eth"]
    assert names_of(1, *map(merge_proof, ens), merge_proof(None, ens[0])) == ["x.eth"]


def rent(fid: int, units: int) -> Event:
    event = chain_event("storage_rent", fid, {"payer": "0x" + "0a" * 20, "units": units, "expiry": 1}, block=fid)
    return merge_chain({**event, "blockTimestamp": HOUR_UNIX - 100})


def lend(fid: int, to: int, units: int, at: int = NOW) -> Json:
    body = {"toFid": to, "numUnits": units, "unitType": "UnitType2025"}
    return message("LEND_STORAGE", fid, at, {"lendStorageBody": body})


YEAR = 365 * 86_400


@pytest.mark.parametrize(
    ("fid", "now_unix", "units", "lends"),
    [(1, HOUR_UNIX, 6, (10, 2)), (3, HOUR_UNIX, 3, (0, 1)), (5, HOUR_UNIX, 1, (0, 1)), (7, HOUR_UNIX, 0, (0, 0)),
     (1, HOUR_UNIX + YEAR, 2**32 - 4, (0, 2)), (3, HOUR_UNIX + YEAR, 3, (0, 1))],
)  # fmt: skip
def test_net_units_and_loans(fid: int, now_unix: int, units: int, lends: tuple[int, int]) -> None:
    """Loans have no end, so that a lender whose rents are over has less than none: 32 bits wrap (hub-api 6.4, 12).

    `lends` is their limit, which is what was rented, and how many the FID has given or taken.
    """
    loans = (lend(1, 3, 3), lend(1, 5, 1))
    answer = told(
        f"storageLimitsByFid?fid={fid}", rent(1, 10), *map(merge, loans), other=tuple(map(merge, loans)),
        now_unix=now_unix,
    )  # fmt: skip
    assert (answer["units"], answer["unitDetails"][2]["unitSize"]) == (units, units)
    by_name = {limit["name"]: limit for limit in answer["limits"]}
    assert (by_name["STORAGE_LENDS"]["limit"], by_name["STORAGE_LENDS"]["used"]) == lends
    assert by_name["CASTS"]["limit"] == 100 * units


def test_a_late_copy_of_a_loan_brings_nothing_back() -> None:
    first, over = lend(1, 3, 3), lend(1, 3, 0, NOW + 1)
    ended = [merge(first), merge(over, first), prune(over)]
    answer = told("storageLimitsByFid?fid=3", rent(1, 10), *ended, other=(merge(first),))
    assert answer["units"] == 0


def signer(key: str, change: str, block: int, key_type: int = 1) -> Event:
    body = {
        "key": key,
        "keyType": key_type,
        "eventType": f"SIGNER_EVENT_TYPE_{change}",
        "metadata": "",
        "metadataType": 1,
    }
    return merge_chain(chain_event("signer", 1, body, block=block))


@pytest.mark.parametrize(
    ("changes", "listed"),
    [(["ADD"], 1), (["ADD", "REMOVE"], 0), (["ADD", "REMOVE", "ADD"], 3), (["ADD", "REMOVE", "ADMIN_RESET"], 3),
     (["ADMIN_RESET"], 0), (["REMOVE"], 0)],
)  # fmt: skip
def test_a_key_is_listed_with_all_its_events_while_it_is_active(changes: list[str], listed: int) -> None:
    """A reset by the registry's admin brings a key back; removes and resets have key type 0 (protocol-tables 1)."""
    events = [signer("0xaa", change, n, int(change == "ADD")) for n, change in enumerate(changes)]
    answer = told("onChainSignersByFid?fid=1", *events, signer("0xbb", "ADD", 50, key_type=2))
    assert len(answer["events"]) == listed
