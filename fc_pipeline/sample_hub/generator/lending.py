"""Storage lent and borrowed (protocol-tables 2.2)."""

from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.world import User, World

__all__ = ["LENDERS", "LENDER_UNITS", "Lending"]

LENDERS = 5
"""How many of the first users have storage to lend."""
LENDER_UNITS = 2_000
"""What each of them rents; nobody lends who owns less than 1,000."""


class Lending:
    """Loans of some of the lenders, `count` from the `first` on."""

    def __init__(self, scribe: EventWriter, world: World, *, first: int, count: int) -> None:
        self._scribe = scribe
        self._world = world
        self._first = first
        self._count = count

    def lender(self, number: int) -> User | None:
        """One of them, by any number; None where none has enough."""
        able = [user for user in self._world.users[:LENDERS] if user.storage_units >= LENDER_UNITS]
        mine = able[self._first : self._first + self._count]
        return mine[number % len(mine)] if mine else None

    def lend(self, lender: User, receiver: User, units: int) -> None:
        """LEND_STORAGE on every shard; a loan of 0 units ends it, merged and pruned at once (hub-api 7.1)."""
        scribe = self._scribe
        held = lender.lends.pop(receiver.fid, None)
        body = f'"lendStorageBody":{{"toFid":{receiver.fid},"numUnits":{units},"unitType":"UnitType2025"}}'
        message = scribe.message(lender, "LEND_STORAGE", scribe.moment(held.timestamp if held else -1), body)
        deleted = held.json if held else ""
        merged = f'"mergeMessageBody":{{"message":{message.json},"deletedMessages":[{deleted}]}}'
        scribe.everywhere(self._world, "MERGE_MESSAGE", merged)
        if units:
            lender.lends[receiver.fid] = message
        else:
            scribe.everywhere(self._world, "PRUNE_MESSAGE", f'"pruneMessageBody":{{"message":{message.json}}}')
