"""Does a hub still have old records? A hub that lost registrations is not used: the rows it lacks would be deleted."""

from fc_pipeline.backfill.fetch import FetchedChunk
from fc_pipeline.errors import HubUntrusted
from fc_pipeline.replica import Replica
from fc_pipeline.store import snapshot_ledger

__all__ = ["refuse_lost_past"]


def refuse_lost_past(replica: Replica, hub_name: str, fetched: FetchedChunk) -> None:
    """Raise HubUntrusted if a hub knows none of the requested FIDs that were registered.

    Contract events are permanent (hub-api 4.3). Everything that such a hub lacks would count as deleted.
    """
    fids = [one.fid for one in fetched.snapshots]
    with replica.engine.connect() as connection:
        known = snapshot_ledger.registered_fids(connection, fids)
    if known and not known & fetched.registered:
        raise HubUntrusted(
            f"hub {hub_name} has lost its past: it has no registration of {len(known)} FIDs whose registration was "
            f"read, such as {min(known)}",
            hint="wait until it has synced again, or name another hub in FC_HUB_URLS",
        )
