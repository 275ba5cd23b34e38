"""The replica against the network's state root, with digests of today; and its healing by the users who differ."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import HubError
from fc_pipeline.live_set.known import KnownSet, known_sets
from fc_pipeline.live_set.leaves import ShardFid
from fc_pipeline.live_set.upkeep import digest_keeper, refresh_and_examine
from fc_pipeline.proving.replica_proof import ReplicaProof, prove_replica
from fc_pipeline.proving.shard_proof import ShardProof
from fc_pipeline.proving.standing import ShardStanding, Standing, standing_of
from fc_pipeline.replica import Replica
from fc_pipeline.status.row_counts import live_rows
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS

__all__ = ["StateFinding", "compare_with_hub", "examine_state"]


@dataclass(frozen=True, slots=True)
class StateFinding:
    """A proof, and by shard how it stands; `digests_made` before it, of `leaves_read` leaves.

    `differing` are by refuted shard the FIDs that differ. `proved_since` is by shard from which height on the ledger
    had every event when its root was proved last.
    """

    proof: ReplicaProof
    standings: dict[int, ShardStanding]
    differing: dict[int, frozenset[int]]
    proved_since: dict[int, int]
    digests_made: int = 0
    leaves_read: int = 0

    def shards_that_are(self, standing: Standing) -> list[ShardProof]:
        """The shards that stand so."""
        return [one for one in self.proof.shards if self.standings[one.shard].standing is standing]

    @property
    def differing_fids(self) -> list[int]:
        """The FIDs in which a refuted shard differs, ascending."""
        return sorted({fid for fids in self.differing.values() for fid in fids})


def examine_state(replica: Replica, run_id: str, proved_since: Mapping[int, int]) -> StateFinding | None:
    """The proof from digests that are kept up, a part of them made anew from the rows; None if nothing is folded.

    FIDs that differ get fresh digests and are compared once more: what has changed at the hub only since, or was
    nothing but an outdated digest, is no difference. Raises HubError, PostgresError.
    """
    shard_count = replica.shard_count()
    if shard_count is None:
        return None
    examination = _Examination(replica, run_id, proved_since)
    with digest_keeper(replica, run_id, shard_count) as keeper:
        made = refresh_and_examine(keeper)
        found = examination.look()
        if found.differing:
            keeper.refresh_fids(ShardFid(shard, fid) for shard, fids in found.differing.items() for fid in fids)
            found = _lasting(found, examination.look())
    return replace(found, digests_made=made.fids, leaves_read=made.leaves)


def compare_with_hub(fids: Collection[int], backfill: Callable[[BackfillScope], Backfill]) -> None:
    """Make these users equal to the hub; `backfill` gives the work over a scope, which must fetch and fold.

    That the hub cannot answer for some of them is no failure: they differ still. Raises HubError where it fails.
    """
    work = backfill(BackfillScope.of_fids(fids))
    try:
        work.execute()
    except HubError:
        if not work.progress.unread:
            raise


@dataclass(frozen=True, slots=True)
class _Examination:
    """Looks at a replica whose roots were proved while the ledger had every event since some heights."""

    replica: Replica
    run_id: str
    proved_since: Mapping[int, int]

    def look(self) -> StateFinding:
        with self.replica.engine.connect() as connection:
            known = {one.shard: self._as_proved(one) for one in known_sets(connection)}
            has_untold_keys = live_rows(connection, GASLESS_KEYS) > 0
        little_known = [shard for shard, one in known.items() if not one.has_whole_past]
        proof = prove_replica(self.replica, self.run_id, little_known=little_known)
        standings: dict[int, ShardStanding] = {}
        differing: dict[int, frozenset[int]] = {}
        proved_since = dict(self.proved_since)
        for one in proof.shards:
            whole = known.get(one.shard)
            stands = standing_of(
                one, None if whole is None or whole.is_whole else whole, has_untold_keys=has_untold_keys
            )
            standings[one.shard] = stands
            if stands.standing is Standing.REFUTED and one.differing_fids:
                differing[one.shard] = frozenset(one.differing_fids)
            if stands.standing is Standing.PROVED and whole is not None and whole.since is not None:
                proved_since[one.shard] = whole.since
        return StateFinding(proof, standings, differing, proved_since)

    def _as_proved(self, one: KnownSet) -> KnownSet:
        """A set that was proved to be whole once, and whose shard was folded without a hole since, still is."""
        since = self.proved_since.get(one.shard)
        is_unbroken = since is not None and one.since is not None and one.since <= since
        return replace(one, is_proved=True) if is_unbroken else one


def _lasting(first: StateFinding, again: StateFinding) -> StateFinding:
    """What was found again: of FIDs that did not differ before only the hub has changed since."""
    standings, differing = dict(again.standings), dict(again.differing)
    for shard, fids in again.differing.items():
        lasting = fids & first.differing.get(shard, frozenset())
        differing[shard] = lasting
        if not lasting:
            del differing[shard]
            moved = "the users who differ are others at each look: the hub goes on meanwhile"
            standings[shard] = ShardStanding(Standing.NOT_COMPARED, f"{standings[shard].why}; {moved}")
    return replace(again, standings=standings, differing=differing)
