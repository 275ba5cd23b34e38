"""Are the messages what their signers signed? Evaluated by proving some thousand of them from the tables alone.

A check of `reconciled_fids`, as `state_root`: together they say that the replica is what the network signed.
"""

from collections.abc import Collection, Iterator
from typing import Any, Final

import sqlalchemy as sa
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    DagsterInstance,
    MetadataValue,
    asset_check,
)

from fc_pipeline.orchestration.checks.newest import newest_evaluation
from fc_pipeline.orchestration.checks.wording import check_spec, table_of, with_remedy
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.proof.messages import Verdict
from fc_pipeline.proving.messages import ProvedMessages, prove_messages_of, prove_sample
from fc_pipeline.replica import Replica

__all__ = ["MESSAGE_PROOFS", "evaluate_message_proofs", "message_proofs"]

MESSAGE_PROOFS: Final = "message_proofs"
SAMPLED_MESSAGES: Final = 5_000
MAX_FIDS_AGAIN: Final = 10
"""So many users with forged messages are looked at again whole: their messages may be in no further sample."""
_RECONCILED: Final = "reconciled_fids"
_FORGED_FIDS: Final = "forged_fids"
_FORGED: Final = frozenset(
    {
        Verdict.NO_ENCODING_HAS_THE_HASH,
        Verdict.SIGNATURE_DOES_NOT_HOLD,
        Verdict.SIGNER_WAS_NO_KEY,
        Verdict.SIGNER_IS_OF_ANOTHER,
    }
)
"""All others that are not proved cannot be: what it takes is not stored."""

_SPEC: Final = check_spec(
    _RECONCILED,
    MESSAGE_PROOFS,
    f"Of about {SAMPLED_MESSAGES:,} messages from all tables, each says what its hash says, and its signer signed the "
    "hash; of users with one that did not, all messages are looked at again. Red: a message was changed here, or was "
    "never signed so. What cannot be proved from a row, such as a text that was stored without its U+0000, is counted "
    "and is not red.",
    "`fc-pipeline backfill --fids …` of the users named makes their messages those of the hub; `fc-pipeline prove "
    "--fid …` looks again. What stays is the hub's: compare with another one (FC_HUB_URLS).",
)


@asset_check(asset=_RECONCILED, name=MESSAGE_PROOFS, description=_SPEC.description, metadata=_SPEC.metadata)
def message_proofs(context: AssetCheckExecutionContext, replica: ReplicaResource) -> AssetCheckResult:
    """Evaluate a sample now."""
    with failing_step(), replica.open(need_hub=False) as opened:
        return evaluate_message_proofs(opened, _forged_before(context.instance, replica.names))


def _forged_before(instance: DagsterInstance, names: Names) -> list[int]:
    """The users whom the newest result names."""
    found = newest_evaluation(instance, AssetCheckKey(names.key(_RECONCILED), MESSAGE_PROOFS))
    told: Any = found.metadata[_FORGED_FIDS].value if found is not None and _FORGED_FIDS in found.metadata else []
    return [int(fid) for fid in told]


def evaluate_message_proofs(replica: Replica, fids: Collection[int] = ()) -> AssetCheckResult:
    """A sample, and all messages of these FIDs, from one state of the tables."""
    with replica.engine.connect() as connection:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        parts = [prove_messages_of(connection, fid) for fid in fids]
        parts.append(prove_sample(connection, SAMPLED_MESSAGES))
    return _result(_sum(parts))


def _sum(parts: Collection[ProvedMessages]) -> ProvedMessages:
    found = ProvedMessages()
    for one in parts:
        found.verdicts.update(one.verdicts)
        found.unproved += [each for each in one.unproved if each not in found.unproved]
    return found


def _result(found: ProvedMessages) -> AssetCheckResult:
    forged = [one for one in found.unproved if one.verdict in _FORGED]
    fids = sorted({one.fid for one in forged})
    return AssetCheckResult(
        asset_key=_RECONCILED,
        check_name=MESSAGE_PROOFS,
        passed=not forged,
        severity=AssetCheckSeverity.ERROR,
        description=_describe(found, fids),
        metadata={
            "messages_looked_at": found.checked,
            "messages_proved": found.proved,
            "messages_not_provable": sum(count for (_, one), count in found.verdicts.items() if _is_not_provable(one)),
            "messages_forged": sum(count for (_, one), count in found.verdicts.items() if one in _FORGED),
            "verdicts": table_of(_rows(found), ("table", "messages", "verdict")),
            "forged": table_of(
                (
                    {"table": o.table, "fid": o.fid, "hash": o.hash.hex() if o.hash else "", "why": o.verdict.value}
                    for o in forged
                ),
                ("table", "fid", "hash", "why"),
            ),
            _FORGED_FIDS: MetadataValue.json(fids[:MAX_FIDS_AGAIN]),
        },
    )


def _is_not_provable(verdict: Verdict) -> bool:
    return verdict is not Verdict.PROVED and verdict not in _FORGED


def _rows(found: ProvedMessages) -> Iterator[dict[str, Any]]:
    ordered = sorted(found.verdicts.items(), key=lambda item: (item[0][0], item[0][1].value))
    return ({"table": table, "messages": count, "verdict": verdict.value} for (table, verdict), count in ordered)


def _describe(found: ProvedMessages, fids: Collection[int]) -> str:
    if not found.checked:
        return "there are no messages yet"
    said = f"{found.proved:,} of {found.checked:,} messages are proved by hash and signature"
    if not fids:
        return said
    named = ",".join(map(str, fids))
    forged = sum(count for (_, one), count in found.verdicts.items() if one in _FORGED)
    return with_remedy(
        f"{said}; {forged:,} are not what was signed, of users {named}", f"fc-pipeline backfill --fids {named}"
    )
