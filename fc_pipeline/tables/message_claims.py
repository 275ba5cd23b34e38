"""Rows of the tables of messages as claims that can be proved: hash and signature, from what is stored alone.

What cannot be proved this way, and why:

* rows of `username_proofs`: of an ENS or Basename proof the message's own time and signature are not stored, of an
  fname's the registry's signature is over what only the registry says;
* contract events: nothing in them is signed for us, the chain itself is their proof;
* a row from whose text U+0000 was taken out, which Postgres cannot hold (`pipeline.quarantine`, `nul_removed`);
* messages that become no row: removes, compact states.
"""

from collections.abc import Mapping
from typing import Any

from fc_pipeline.proof.messages import Claim
from fc_pipeline.tables.encoding import farcaster_seconds
from fc_pipeline.tables.message_set import MessageSet

__all__ = ["claim_of"]


def claim_of(message_set: MessageSet, row: Mapping[str, Any]) -> Claim:
    """What a live row claims. `row` has the table's columns by name, times with their zone, bytes as bytes."""
    return Claim(
        kind=message_set.add_type.removeprefix("MESSAGE_TYPE_"),
        fid=row[message_set.author],
        timestamp=farcaster_seconds(row["timestamp"]),
        bodies=message_set.said(row),
        hash=row["hash"],
        signer=row["signer"],
        signature=row["signature"],
    )
