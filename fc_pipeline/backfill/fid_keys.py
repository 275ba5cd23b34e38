"""The gasless keys that a hub lists of one FID: raw, page by page (protocol-tables 1.3)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from fc_pipeline.hub.client import HubLacksEndpoint
from fc_pipeline.hub.decode import DECODE_ERRORS
from fc_pipeline.hub.reads import SIGNERS_PATH, HubReads
from fc_pipeline.hub.snapshot import KEYS_READ, SnapshotPage
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS, ONCHAIN

__all__ = ["KeysOfFid", "gasless_keys", "keys_of"]


class _Sourced(msgspec.Struct):
    source: str


_SOURCED: Final = msgspec.json.Decoder(_Sourced)


@dataclass(slots=True)
class KeysOfFid:
    """What a hub lists of one FID: gasless keys, raw, and whether the key registry has a key of it."""

    gasless: list[bytes] = field(default_factory=list[bytes])
    has_onchain: bool = False


async def gasless_keys(hub: HubReads, fid: int) -> AsyncIterator[SnapshotPage]:
    """The FID's gasless keys, expired ones too, and that these are all (KEYS_READ): one request for most users.

    Nothing at all from a hub that has no such endpoint: it says nothing of keys, and is asked once. An entry that is
    not plainly one of the key registry is given as it is; whoever makes rows of it says what is wrong with it. Raises
    HubError.
    """
    if hub.client.lacks(SIGNERS_PATH):
        return
    try:
        async for records in hub.signers_by_fid(fid):
            found = _off_chain(records)
            if found:
                yield SnapshotPage(GASLESS_KEYS.name, found)
    except HubLacksEndpoint:
        return
    yield SnapshotPage(KEYS_READ, [b""])


async def keys_of(hub: HubReads, fid: int) -> KeysOfFid:
    """The same keys at once, and whether others are listed beside them. Raises HubError (HubLacksEndpoint)."""
    found = KeysOfFid()
    async for records in hub.signers_by_fid(fid):
        gasless = _off_chain(records)
        found.gasless += gasless
        found.has_onchain |= len(gasless) < len(records)
    return found


def _off_chain(records: Sequence[bytes]) -> list[bytes]:
    return [raw for raw in records if _source(raw) != ONCHAIN]


def _source(raw: bytes) -> str | None:
    with suppress(*DECODE_ERRORS):
        return _SOURCED.decode(raw).source
    return None
