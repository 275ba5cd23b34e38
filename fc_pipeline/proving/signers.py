"""Whether a message's signer was a key of its FID when the message was written, by what the tables know of keys.

When it was written is its block's time; where only by-FID answers told of it, it was later than it claims, or minutes
earlier at most. Messages of a removed key stay (hub-api 7.6, protocol V14), so the past of a key counts: of the key
registry all of it is known from its events. Of gasless keys a hub tells those that are there now (protocol-tables 1.3):
one that a message was not signed with in its known time may have been added before, so that refutes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from fc_pipeline.proof.messages import Verdict
from fc_pipeline.reconcile.covered_history import IS_REGISTER
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.message import NETWORK_TIME
from fc_pipeline.tables.message_set import MessageSet
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.signers import SIGNERS

__all__ = ["SignedMessage", "is_registered_sql", "signer_verdicts"]

_CLOCKS_DIFFER_BY: Final = "interval '10 minutes'"
"""So far a message's time may be ahead of its block's (hub-api 5), and with it a chain's and a hub's clocks differ."""
_REMOVALS_ARRIVE_WITHIN: Final = "interval '1 hour'"
"""A removal counts from the block of the shard that merged it, which for most is seconds after the chain's."""


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """Who signed a message, and when: `kind` is its type on the wire, `network_time` its block's or its own.

    `event_id` is that of the event on its FID's home shard that last decided its row, where there was one.
    """

    fid: int
    signer: bytes
    kind: str
    network_time: datetime
    is_of_block: bool
    event_id: int | None


def is_registered_sql(message_set: MessageSet) -> str:
    """SQL for whether the signer of a row `m` is a key now and was one then: of nearly all messages, by one index."""
    return (
        f"EXISTS (SELECT FROM {SIGNERS.qualified} AS k WHERE k.fid = m.{message_set.author} AND k.key = m.signer "
        f"AND k.key_type = 1 AND k.removed_at IS NULL AND k.added_at <= {NETWORK_TIME} "
        f"AND (k.scopes IS NULL OR '{message_set.add_type}' = ANY (k.scopes)))"
    )


_SAID: Final = (
    "said AS (SELECT * FROM unnest(CAST(:fids AS bigint[]), CAST(:keys AS bytea[]), CAST(:kinds AS text[]), "
    "CAST(:times AS timestamptz[]), CAST(:are_of_blocks AS boolean[]), CAST(:event_ids AS bigint[])) "
    "WITH ORDINALITY AS s (fid, key, kind, at, is_of_block, event_id, place))"
)
# What the registry says of these users' keys, in its order. A removal may be all that is known of a key.
_CHANGES: Final = (
    "changes AS (SELECT f.fid, decode(substr(e.body->>'key', 3), 'hex') AS key, e.block_timestamp AS at, e.version, "
    "e.body->>'eventType' = 'SIGNER_EVENT_TYPE_REMOVE' AS is_removal, e.block_number, e.log_index "
    f"FROM (SELECT DISTINCT fid FROM said) AS f CROSS JOIN LATERAL (SELECT * FROM {ON_CHAIN_EVENTS.qualified} AS r "
    "WHERE r.fid = f.fid AND r.type = 'signer' AND r.deleted_at IS NULL OFFSET 0) AS e "
    "WHERE e.body->>'key' ~ '^0x([0-9a-fA-F]{2})+$' "
    "AND (e.body->>'eventType' <> 'SIGNER_EVENT_TYPE_ADD' OR e.body->>'keyType' = '1'))"
)
_SPANS: Final = (
    "spans AS (SELECT fid, key, CASE WHEN NOT is_removal THEN at END AS added_at, "
    "CASE WHEN is_removal THEN at WHEN is_removal_next THEN next_at END AS removed_at, "
    "CASE WHEN is_removal THEN version WHEN is_removal_next THEN next_version END AS removed_by "
    "FROM (SELECT *, lead(is_removal) OVER w AS is_removal_next, lead(at) OVER w AS next_at, "
    "lead(version) OVER w AS next_version, lag(at) OVER w IS NULL AS is_first "
    "FROM changes WINDOW w AS (PARTITION BY fid, key ORDER BY block_number, log_index)) AS c "
    "WHERE is_first OR NOT is_removal)"
)
_WAS_ADDED_LATER: Final = f"coalesce(s.is_of_block AND t.added_at > s.at + {_CLOCKS_DIFFER_BY}, false)"
_WAS_REMOVED_BEFORE: Final = (
    f"coalesce(t.removed_at <= s.at AND (t.removed_at < s.at - {_REMOVALS_ARRIVE_WITHIN} "
    "OR coalesce(t.removed_by < s.event_id, false)), false)"
)
_SPANS_OF_KEY: Final = "SELECT FROM spans AS t WHERE t.fid = s.fid AND t.key = s.key"
_IS_REGISTERED_HERE: Final = (
    f"EXISTS (SELECT FROM {ON_CHAIN_EVENTS.qualified} AS e WHERE e.fid = s.fid AND e.type = 'id_register' "
    f"AND e.deleted_at IS NULL AND e.body{IS_REGISTER})"
)
# Of somebody whose registration is here all keys of the registry are; gasless keys were asked for by themselves.
_WAS_READ: Final = (
    "EXISTS (SELECT FROM pipeline.snapshots AS x WHERE x.fid = s.fid AND x.folded_at IS NOT NULL "
    "AND x.fetched_at > s.at) "
    "OR (EXISTS (SELECT FROM pipeline.unexplained_keys AS u WHERE u.fid = s.fid AND u.key = s.key "
    f"AND u.asked_at > s.at) AND {_IS_REGISTERED_HERE})"
)
_IS_NO_TARGET: Final = (
    "EXISTS (SELECT FROM pipeline.target_set WHERE mode = 'set') "
    "AND NOT EXISTS (SELECT FROM pipeline.targets AS x WHERE x.fid = s.fid)"
)
_JUDGED: Final = sa.text(
    f"WITH {_SAID}, {_CHANGES}, {_SPANS} SELECT CASE "
    f"WHEN EXISTS ({_SPANS_OF_KEY} AND NOT {_WAS_ADDED_LATER} AND NOT {_WAS_REMOVED_BEFORE}) "
    f"OR (g.key IS NOT NULL AND g.added_at <= s.at + {_CLOCKS_DIFFER_BY} AND s.kind = ANY (g.scopes) "
    "AND coalesce(g.removed_at >= s.at, true)) THEN 'PROVED' "
    f"WHEN g.key IS NULL AND EXISTS ({_SPANS_OF_KEY}) THEN 'SIGNER_WAS_NO_KEY' "
    f"WHEN g.key IS NULL AND EXISTS (SELECT FROM {SIGNERS.qualified} AS k WHERE k.key = s.key AND k.fid <> s.fid) "
    "THEN 'SIGNER_IS_OF_ANOTHER' "
    f"WHEN {_IS_NO_TARGET} THEN 'SIGNER_IS_NOT_KEPT' "
    f"WHEN g.removed_at < s.at THEN 'SIGNER_IS_NOT_READ' WHEN g.key IS NOT NULL OR {_WAS_READ} "
    "THEN 'SIGNER_IS_NOT_TOLD' ELSE 'SIGNER_IS_NOT_READ' END AS verdict "
    f"FROM said AS s LEFT JOIN {GASLESS_KEYS.qualified} AS g ON g.fid = s.fid AND g.key = s.key ORDER BY s.place"
)


def signer_verdicts(connection: sa.Connection, messages: Sequence[SignedMessage]) -> list[Verdict]:
    """What is known of each message's signer; of PROVED ones that it was a key. Raises what SQLAlchemy raises."""
    if not messages:
        return []
    parameters = {
        "fids": [one.fid for one in messages],
        "keys": [one.signer for one in messages],
        "kinds": [one.kind for one in messages],
        "times": [one.network_time for one in messages],
        "are_of_blocks": [one.is_of_block for one in messages],
        "event_ids": [one.event_id for one in messages],
    }
    return [Verdict[name] for name in connection.execute(_JUDGED, parameters).scalars()]
