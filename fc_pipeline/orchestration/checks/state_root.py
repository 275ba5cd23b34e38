"""Is the replica what the network signed? Evaluated by the root of each shard's live records, or by their number.

It is a check of `reconciled_fids`, the asset that says of users that they are as the hub has them: its lineage is what
heals a difference, while an asset of its own would have every table above it and never be materialised.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    asset_check,
)

from fc_pipeline.errors import HubError
from fc_pipeline.orchestration.checks.drift import MAX_NAMED_FIDS
from fc_pipeline.orchestration.checks.state_memory import (
    MAX_HEALING_ATTEMPTS,
    RECONCILED_FIDS,
    STATE_ROOT,
    StateMemory,
)
from fc_pipeline.orchestration.checks.wording import check_spec, materializing, table_of, with_remedy
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.proof.descent import Difference
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, leaf_type_name
from fc_pipeline.proving.shard_proof import ShardProof, fid_of
from fc_pipeline.proving.standing import Standing
from fc_pipeline.repair.state_root import StateFinding, examine_state
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger

__all__ = ["evaluate_state_root", "state_root"]

_MAX_SAID: Final = 10
_SHOWN_HASH_DIGITS: Final = 16
_SHARD_COLUMNS: Final = (
    "shard",
    "height",
    "leaves",
    "proved",
    "our_root",
    "header_root",
    "validators",
    "requests",
    "why",
)
_DIFFERENCE_COLUMNS: Final = ("shard", "fid", "type", "leaves_here", "leaves_at_hub")

_SPEC: Final = check_spec(
    RECONCILED_FIDS,
    STATE_ROOT,
    "The live records of every shard make the root in the header of the block that is folded last (FC_HUB_GRPC), which "
    "more than two thirds of the validators signed (FC_VALIDATORS); without FC_HUB_GRPC, they are as many as the hub "
    "says. Red: they do not; difference_sensor has the users who differ compared with the hub, "
    f"{MAX_HEALING_ATTEMPTS} times at most. Yellow: it cannot be told, and why.",
    "`fc-pipeline backfill --fids …` of the users named makes them equal to the hub. `fc-pipeline prove` looks again.",
)


@asset_check(asset=RECONCILED_FIDS, name=STATE_ROOT, description=_SPEC.description, metadata=_SPEC.metadata)
def state_root(context: AssetCheckExecutionContext, replica: ReplicaResource) -> AssetCheckResult:
    """Evaluate all shards now; keeps the digests up first."""
    with failing_step(), replica.open() as opened:
        return evaluate_state_root(opened, context.run.run_id, StateMemory.of(context.instance, replica.names))


def evaluate_state_root(replica: Replica, run_id: str, memory: StateMemory) -> AssetCheckResult:
    """All shards as one result; the worst decides."""
    if replica.targets is not None:
        return _not_applicable("FC_TARGETS=set keeps the records of targets alone: there is no root to compare")
    try:
        found = examine_state(replica, run_id, memory.proved_since)
    except HubError as error:
        return _result(passed=False, description=f"no hub to compare with: {error}", metadata=memory.metadata())
    if found is None or not found.proof.shards:
        return _not_applicable("nothing is folded yet: there is nothing to compare")
    return _of_finding(replica, found, memory)


def _of_finding(replica: Replica, found: StateFinding, memory: StateMemory) -> AssetCheckResult:
    refuted = found.shards_that_are(Standing.REFUTED)
    not_compared = found.shards_that_are(Standing.NOT_COMPARED)
    tried = {fid: memory.attempts.get(fid, 0) for fid in found.differing_fids}
    # What cannot be told at the moment is not healed by that.
    attempts = tried if refuted else memory.attempts if not_compared else {}
    if refuted:
        description = _refutation(replica, found, tried)
    else:
        description = "; ".join(_said(found, one) for one in not_compared or found.proof.shards)
    return _result(
        passed=not refuted and not not_compared,
        severity=AssetCheckSeverity.ERROR if refuted else AssetCheckSeverity.WARN,
        description=description,
        metadata={
            "shards_proved": f"{len(found.shards_that_are(Standing.PROVED))} of {len(found.proof.shards)}",
            "leaves": sum(one.root.ours.leaf_count if one.root else one.counts.ours for one in found.proof.shards),
            "requests": sum(one.root.requests for one in found.proof.shards if one.root),
            "differing_fids": len(tried),
            "digests_made": found.digests_made,
            "leaves_read_anew": found.leaves_read,
            "shards": table_of((_row(found, one) for one in found.proof.shards), _SHARD_COLUMNS),
            "differing": table_of(_differences(found), _DIFFERENCE_COLUMNS),
            "taken_from_hub": table_of(_taken(found), _DIFFERENCE_COLUMNS),
            **StateMemory(attempts, found.proved_since).metadata(),
        },
    )


def _result(
    *,
    passed: bool,
    description: str,
    severity: AssetCheckSeverity = AssetCheckSeverity.WARN,
    metadata: Mapping[str, Any] | None = None,
) -> AssetCheckResult:
    return AssetCheckResult(
        asset_key=RECONCILED_FIDS,
        check_name=STATE_ROOT,
        passed=passed,
        severity=severity,
        description=description,
        metadata=metadata,
    )


def _not_applicable(why: str) -> AssetCheckResult:
    return _result(passed=True, description=why)


def _said(found: StateFinding, one: ShardProof) -> str:
    return f"shard {one.shard} at height {one.height}: {found.standings[one.shard].why}"


def _row(found: StateFinding, one: ShardProof) -> dict[str, Any]:
    root = one.root
    header = root.header if root is not None else None
    consensus = root.consensus if root is not None else None
    return {
        "shard": one.shard,
        "height": one.height,
        "leaves": root.ours.leaf_count if root is not None else one.counts.ours,
        "proved": one.strength,
        "our_root": root.ours.hash.hex()[:_SHOWN_HASH_DIGITS] if root is not None else "",
        "header_root": header.shard_root.hex()[:_SHOWN_HASH_DIGITS] if header is not None else "",
        "validators": f"{consensus.signed} of {consensus.validators}" if consensus is not None else "",
        "requests": root.requests if root is not None else 0,
        "why": found.standings[one.shard].why,
    }


def _differences(found: StateFinding) -> Iterator[dict[str, Any]]:
    """Of the FIDs that differ, by type where both sides have the FID."""
    for one in found.proof.shards:
        fids = found.differing.get(one.shard, frozenset())
        listed = [each for each in (one.root.differing if one.root else ()) if fid_of(each.prefix) in fids]
        by_type = {fid_of(each.prefix) for each in listed if len(each.prefix) > FID_PREFIX_BYTES}
        for each in listed:
            if len(each.prefix) > FID_PREFIX_BYTES or fid_of(each.prefix) not in by_type:
                yield _difference(one.shard, each)


def _taken(found: StateFinding) -> Iterator[dict[str, Any]]:
    return (_difference(one.shard, each) for one in found.proof.shards if one.root for each in one.root.taken)


def _difference(shard: int, one: Difference) -> dict[str, Any]:
    return {
        "shard": shard,
        "fid": fid_of(one.prefix),
        "type": leaf_type_name(one.prefix[FID_PREFIX_BYTES]) if len(one.prefix) > FID_PREFIX_BYTES else "all",
        "leaves_here": one.ours.leaf_count if one.ours else 0,
        "leaves_at_hub": one.theirs.leaf_count if one.theirs else 0,
    }


def _refutation(replica: Replica, found: StateFinding, tried: Mapping[int, int]) -> str:
    """What is wrong, what was tried, and the command."""
    refuted = found.shards_that_are(Standing.REFUTED)
    said = "; ".join(_said(found, one) for one in refuted)
    if not tried:
        is_unsigned = all(one.root is not None and one.root.is_proved for one in refuted)
        hub = "name another hub in FC_HUB_GRPC, or correct FC_VALIDATORS"
        return with_remedy(said, hub if is_unsigned else "fc-pipeline backfill --all")
    finding = f"{said}. Users who differ: {len(tried):,}, {_named(tried)}"
    in_vain = [fid for fid, times in tried.items() if times >= MAX_HEALING_ATTEMPTS]
    if not in_vain:
        fids = ",".join(map(str, list(tried)[:MAX_NAMED_FIDS]))
        return with_remedy(f"{finding}; difference_sensor has them compared", f"fc-pipeline backfill --fids {fids}")
    finding = f"{finding}; compared with the hub {MAX_HEALING_ATTEMPTS} times in vain: {_named(in_vain)}"
    with replica.engine.connect() as connection:
        hours = ledger.covered_partitions(connection)
    return with_remedy(finding, f"{materializing('casts', hours)} makes all leaves anew from the raw log")


def _named(fids: Iterable[int]) -> str:
    listed = list(fids)
    return ", ".join(map(str, listed[:_MAX_SAID])) + (" …" if len(listed) > _MAX_SAID else "")
