"""Contract events of all FIDs, and what follows from them: active signers, rented storage, subscriptions."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import msgspec

__all__ = ["ChainEvent", "ChainEvents", "StorageUnits"]

_ANY: Final = msgspec.json.Decoder()

UNITS_2024_FROM_UNIX: Final = 1_724_889_600
UNITS_2025_FROM_UNIX: Final = 1_752_685_200
LONGER_RENT_FROM_UNIX: Final = 1_782_147_600
UINT32: Final = 2**32 - 1
YEAR_SECONDS: Final = 365 * 86_400
DAY_SECONDS: Final = 86_400

UNIT_TYPES: Final[tuple[str, ...]] = ("UnitTypeLegacy", "UnitType2024", "UnitType2025")
StorageUnits = dict[str, int]


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """A contract event as it came, with what it is found by."""

    type: str
    fid: int
    block_number: int
    log_index: int
    block_timestamp: int
    shard: int
    body: dict[str, Any]
    raw: bytes

    @property
    def is_registration(self) -> bool:
        """An ID_REGISTER event that is a registration, in the words of either dialect."""
        return self.body.get("eventType") in ("Register", "ID_REGISTER_EVENT_TYPE_REGISTER")

    @property
    def sort_key(self) -> bytes:
        """FID (cut to 32 bits, as in the node's keys), block, log: the order of `/v1/fids` (hub-api 6.3)."""
        return b"".join(part.to_bytes(4, "big") for part in (self.fid & UINT32, self.block_number, self.log_index))


_BODY_NAMES: Final = {
    "EVENT_TYPE_SIGNER": "signerEventBody",
    "EVENT_TYPE_SIGNER_MIGRATED": "signerMigratedEventBody",
    "EVENT_TYPE_ID_REGISTER": "idRegisterEventBody",
    "EVENT_TYPE_STORAGE_RENT": "storageRentEventBody",
    "EVENT_TYPE_TIER_PURCHASE": "tier_purchase_event_body",
    "EVENT_TYPE_CHANNEL_REGISTER": "channelRegisterEventBody",
}


class ChainEvents:
    """All contract events, each once (by chain, transaction and log)."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, str, int]] = set()
        self._by_fid: defaultdict[int, list[ChainEvent]] = defaultdict(list)
        self._registrations: defaultdict[int, list[ChainEvent]] = defaultdict(list)

    def add(self, shard: int, raw: msgspec.Raw) -> dict[str, Any] | None:
        """Take in one `onChainEvent`, and give it decoded; None where it was there before.

        Raises KeyError where it lacks what its type must have.
        """
        event = _ANY.decode(raw)
        body = event[_BODY_NAMES[event["type"]]]
        key = (event["chainId"], event["transactionHash"], event["logIndex"])
        if key in self._seen:
            return None
        self._seen.add(key)
        row = ChainEvent(
            event["type"],
            event["fid"],
            event["blockNumber"],
            event["logIndex"],
            event["blockTimestamp"],
            shard,
            body,
            raw,
        )
        self._by_fid[row.fid].append(row)
        if row.type == "EVENT_TYPE_ID_REGISTER":
            self._registrations[shard].append(row)
        return event

    def of_fid(self, fid: int, event_type: str) -> list[ChainEvent]:
        """The FID's events of a type, in chain order."""
        return sorted((e for e in self._by_fid.get(fid, ()) if e.type == event_type), key=lambda e: e.sort_key)

    def id_registers(self, shard: int) -> list[ChainEvent]:
        """The shard's ID_REGISTER events by FID, block and log."""
        return sorted(self._registrations[shard], key=lambda event: event.sort_key)

    def registered_fids(self) -> list[int]:
        """FIDs in the order in which they were registered."""
        events = [e for rows in self._registrations.values() for e in rows if e.is_registration]
        return [event.fid for event in sorted(events, key=lambda e: (e.block_number, e.log_index))]

    def id_register_to(self, address: str) -> ChainEvent | None:
        """The first ID_REGISTER event whose `to` is the address (hub-api 6.2)."""
        for shard in sorted(self._registrations):
            for event in self.id_registers(shard):
                if event.body["to"].lower() == address:
                    return event
        return None

    def active_signer_events(self, fid: int) -> list[ChainEvent]:
        """Every event of each key of type 1 that is active now, older adds and removes of it included (hub-api 6.2).

        A reset by the registry's admin makes a key active again by its first add (protocol-tables 1.1).
        """
        events = self.of_fid(fid, "EVENT_TYPE_SIGNER")
        first: dict[str, ChainEvent] = {}
        current: dict[str, ChainEvent] = {}
        for event in events:
            key, change = event.body["key"], event.body["eventType"].removeprefix("SIGNER_EVENT_TYPE_")
            if change == "ADD":
                first.setdefault(key, event)
            if change != "ADMIN_RESET":
                current[key] = event
            elif key in first:
                current[key] = first[key]
        active = {
            key
            for key, event in current.items()
            if event.body["eventType"] == "SIGNER_EVENT_TYPE_ADD" and event.body["keyType"] == 1
        }
        return [event for event in events if event.body["key"] in active]

    def rented_units(self, fid: int, now_unix: float) -> StorageUnits:
        """Rented units that are not over, by the type that their day of rent gives them (protocol-tables 2.1)."""
        units: StorageUnits = dict.fromkeys(UNIT_TYPES, 0)
        for event in self.of_fid(fid, "EVENT_TYPE_STORAGE_RENT"):
            if now_unix < _rent_expires_unix(event.block_timestamp, now_unix):
                units[_unit_type(event.block_timestamp)] += event.body["units"]
        return units

    def pro_expires_unix(self, fid: int) -> int:
        """When the Pro subscription ends, each purchase adding its days; 0 for never subscribed."""
        expires = 0
        for event in self.of_fid(fid, "EVENT_TYPE_TIER_PURCHASE"):
            expires = max(expires, event.block_timestamp) + event.body["for_days"] * DAY_SECONDS
        return expires


def _rent_expires_unix(block_timestamp: int, now_unix: float) -> int:
    """By the day of rent alone, never by the event's `expiry`; each older rent got a year more with protocol V18."""
    years = 3 - UNIT_TYPES.index(_unit_type(block_timestamp))
    if block_timestamp < LONGER_RENT_FROM_UNIX <= now_unix:
        years += 1
    return block_timestamp + years * YEAR_SECONDS


def _unit_type(block_timestamp: int) -> str:
    if block_timestamp < UNITS_2024_FROM_UNIX:
        return UNIT_TYPES[0]
    return UNIT_TYPES[1] if block_timestamp < UNITS_2025_FROM_UNIX else UNIT_TYPES[2]
