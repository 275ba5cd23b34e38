"""The SQL that makes the target set follow from roots, sign-ups and live follows.

Everything is over *candidates*: the FIDs whose place may have changed. Statements take no parameters, so that a fold's
own connection and any other may execute them; all belong into one transaction that holds LOCK_TO_CHANGE.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fc_pipeline.store.advisory_locks import TARGET_SET
from fc_pipeline.targets.sign_ups import IS_SIGN_UP

__all__ = [
    "CREATE_STAGING",
    "GENERATION",
    "LOCK_TO_CHANGE",
    "LOCK_TO_READ",
    "SIGN_UPS_KNOWN",
    "SIGN_UPS_STAGED",
    "STAGED_FOLLOWS",
    "STAGE_ALL",
    "Execute",
    "SetChange",
    "recompute",
]

Execute = Callable[[str], Sequence[tuple[Any, ...]]]
"""Executes a statement in the caller's transaction; its rows."""

LOCK_TO_READ: Final = TARGET_SET.until_commit(shared=True)
"""Locks the set until commit, so that what was selected by it is committed before a new target is looked up."""

LOCK_TO_CHANGE: Final = TARGET_SET.until_commit()

GENERATION: Final = "SELECT generation, mentions FROM pipeline.target_set"
"""Which generation the set is of, and whether mentions count; no row where no set was ever made."""

CREATE_STAGING: Final = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_target_candidates (fid bigint) ON COMMIT DELETE ROWS",
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_target_desired (fid bigint, reason text, via_fid bigint) "
    "ON COMMIT DELETE ROWS",
)

# Roots: users named by the owner, and users of watched apps, without denied ones.
_ROOTS: Final = """
  SELECT r.fid, 'root' AS reason, NULL::bigint AS via_fid, r.follows, r.most_followed, 0 AS place
  FROM pipeline.target_roots AS r
  WHERE NOT EXISTS (SELECT FROM pipeline.target_denials AS d WHERE d.fid = r.fid)
  UNION ALL
  SELECT s.fid, 'client', min(s.client_fid), true, max(c.most_followed), 1
  FROM pipeline.target_sign_ups AS s JOIN pipeline.target_clients AS c ON c.fid = s.client_fid
  WHERE NOT EXISTS (SELECT FROM pipeline.target_roots AS r WHERE r.fid = s.fid)
    AND NOT EXISTS (SELECT FROM pipeline.target_denials AS d WHERE d.fid = s.fid)
  GROUP BY s.fid
"""

_LIVE_FOLLOW: Final = "l.type = 'follow' AND l.deleted_at IS NULL"
# Of a root with a limit, the oldest follows by the user's own timestamps count.
_WITHIN_LIMIT: Final = (
    "(r.most_followed IS NULL OR r.most_followed > (SELECT count(*) FROM public.links AS k WHERE k.fid = l.fid "
    "AND k.type = 'follow' AND k.deleted_at IS NULL "
    "AND (k.timestamp, k.target_fid) < (l.timestamp, l.target_fid)))"
)

STAGED_FOLLOWS: Final = (
    # New and removed follows of roots. Any follow of a limited root may take a freed place.
    f"WITH roots AS ({_ROOTS}), acting AS (SELECT DISTINCT r.fid, r.most_followed FROM stage_links AS s "
    "JOIN roots AS r ON r.fid = s.fid AND r.follows) "
    "INSERT INTO stage_target_candidates SELECT s.target_fid FROM stage_links AS s JOIN acting AS a ON a.fid = s.fid "
    "WHERE s.type = 'follow' UNION SELECT l.target_fid FROM acting AS a JOIN public.links AS l ON l.fid = a.fid "
    f"WHERE a.most_followed IS NOT NULL AND l.type = 'follow'",
    # A compact state takes follows away that are in no batch.
    f"WITH roots AS ({_ROOTS}) INSERT INTO stage_target_candidates SELECT l.target_fid "
    "FROM (SELECT DISTINCT fid FROM stage_link_compactions) AS s JOIN roots AS r ON r.fid = s.fid AND r.follows "
    "JOIN public.links AS l ON l.fid = s.fid WHERE l.type = 'follow'",
)
"""Candidates from a micro-batch's links and compact states, once these are merged."""


def _sign_ups(events: str, body: str) -> str:
    is_sign_up = IS_SIGN_UP.format(event="o", body=body)
    return (
        "WITH found AS (INSERT INTO pipeline.target_sign_ups (fid, client_fid, signed_up_at) "
        f"SELECT o.fid, c.fid, min(o.block_timestamp) FROM {events} AS o JOIN pipeline.target_clients AS c "
        f"ON {is_sign_up} WHERE o.fid > 0 GROUP BY o.fid, c.fid ON CONFLICT DO NOTHING RETURNING fid) "
        "INSERT INTO stage_target_candidates SELECT fid FROM found"
    )


SIGN_UPS_STAGED: Final = _sign_ups("stage_on_chain_events", "o.body::jsonb")
"""Record sign-ups among the staged contract events; they become candidates."""

SIGN_UPS_KNOWN: Final = _sign_ups("public.on_chain_events", "o.body")
"""The same by all contract events that the table has, for a client that is watched from now on."""

STAGE_ALL: Final = (
    f"WITH roots AS ({_ROOTS}) INSERT INTO stage_target_candidates SELECT fid FROM pipeline.targets "
    "UNION SELECT fid FROM roots UNION SELECT l.target_fid FROM roots AS r "
    f"JOIN public.links AS l ON l.fid = r.fid AND {_LIVE_FOLLOW} WHERE r.follows"
)

# A user that becomes a root, or stops being one, adds or removes its follows as candidates.
_WIDEN: Final = (
    f"WITH roots AS ({_ROOTS}), turned AS (SELECT c.fid FROM (SELECT DISTINCT fid FROM stage_target_candidates) AS c "
    # By key: a plan that reads the whole set looks cheaper, for nothing is known of how many are staged.
    "WHERE coalesce((SELECT t.reason FROM pipeline.targets AS t WHERE t.fid = c.fid) IN ('root', 'client'), false) "
    "IS DISTINCT FROM EXISTS (SELECT FROM roots AS r WHERE r.fid = c.fid)) "
    "INSERT INTO stage_target_candidates SELECT l.target_fid FROM turned JOIN public.links AS l ON l.fid = turned.fid "
    f"WHERE {_LIVE_FOLLOW}"
)


def _desired(follows: str) -> str:
    """The new places of the candidates. Of several reasons the strongest counts; a target keeps its root."""
    return (
        f"WITH roots AS MATERIALIZED ({_ROOTS}), "
        "candidates AS MATERIALIZED (SELECT DISTINCT fid FROM stage_target_candidates WHERE fid > 0), "
        f"reasons AS (SELECT c.fid, r.reason, r.via_fid, r.place FROM candidates AS c JOIN roots AS r ON r.fid = c.fid "
        f"UNION ALL {follows}) "
        "INSERT INTO stage_target_desired SELECT DISTINCT ON (d.fid) d.fid, d.reason, d.via_fid FROM reasons AS d "
        "LEFT JOIN pipeline.targets AS t ON t.fid = d.fid "
        "WHERE NOT EXISTS (SELECT FROM pipeline.target_denials AS n WHERE n.fid = d.fid) "
        "ORDER BY d.fid, d.place, (d.via_fid IS NOT DISTINCT FROM t.via_fid) DESC, d.via_fid"
    )


# OFFSET 0 keeps the order of the joins. A few candidates are looked up by key: a popular one has many followers, a root
# follows many; that a root is followed does not matter. For many or everyone, the roots' follows are read once.
_DESIRED_OF_FEW: Final = _desired(
    "SELECT c.fid, 'followed', r.fid, 2 FROM (SELECT fid FROM candidates EXCEPT SELECT fid FROM roots) AS c "
    "CROSS JOIN roots AS r CROSS JOIN LATERAL "
    f"(SELECT 1 FROM public.links AS l WHERE l.fid = r.fid AND l.target_fid = c.fid AND {_LIVE_FOLLOW} "
    f"AND {_WITHIN_LIMIT} OFFSET 0) AS f WHERE r.follows"
)
_DESIRED_OF_ALL: Final = _desired(
    "SELECT l.target_fid, 'followed', r.fid, 2 FROM roots AS r JOIN LATERAL (SELECT k.target_fid, row_number() "
    "OVER (ORDER BY k.timestamp, k.target_fid) AS rank FROM public.links AS k WHERE k.fid = r.fid "
    "AND k.type = 'follow' AND k.deleted_at IS NULL) AS l ON r.most_followed IS NULL OR l.rank <= r.most_followed "
    "WHERE r.follows AND l.target_fid IN (SELECT fid FROM candidates)"
)

_EMPTY_DESIRED: Final = "DELETE FROM stage_target_desired"

_PAIRS: Final = (
    f"WITH roots AS ({_ROOTS}) SELECT (SELECT count(*) FROM (SELECT fid FROM stage_target_candidates "
    "EXCEPT SELECT fid FROM roots) AS c) * (SELECT count(*) FROM roots WHERE follows)"
)
_MAX_PAIRS: Final = 20_000
"""This many look-ups of a candidate and a root take about as long as reading some tens of thousands of follows."""

_NEXT_GENERATION: Final = "(SELECT generation + 1 FROM pipeline.target_set)"

_ENTER: Final = (
    "WITH entered AS (INSERT INTO pipeline.targets AS t (fid, reason, via_fid, generation) "
    f"SELECT fid, reason, via_fid, {_NEXT_GENERATION} FROM stage_target_desired ORDER BY fid "
    "ON CONFLICT (fid) DO UPDATE SET reason = excluded.reason, via_fid = excluded.via_fid, "
    "generation = excluded.generation WHERE (t.reason, t.via_fid) IS DISTINCT FROM (excluded.reason, excluded.via_fid) "
    "RETURNING t.fid, t.xmax = 0 AS is_new), "
    "returned AS (DELETE FROM pipeline.former_targets AS f USING entered AS e WHERE f.fid = e.fid) "
    "SELECT fid, is_new FROM entered"
)

# A root's follows are unknown before its history is complete: until then its targets are not removed.
_LEAVE: Final = (
    f"WITH roots AS ({_ROOTS}), gone AS (DELETE FROM pipeline.targets AS t USING "
    "(SELECT DISTINCT fid FROM stage_target_candidates) AS c WHERE t.fid = c.fid "
    "AND NOT EXISTS (SELECT FROM stage_target_desired AS d WHERE d.fid = t.fid) "
    "AND NOT (t.reason = 'followed' AND NOT EXISTS (SELECT FROM pipeline.target_denials AS n WHERE n.fid = t.fid) "
    "AND EXISTS (SELECT FROM roots AS r JOIN pipeline.targets AS v ON v.fid = r.fid "
    "WHERE r.fid = t.via_fid AND r.follows AND v.synced_at IS NULL)) RETURNING t.*), "
    "former AS (INSERT INTO pipeline.former_targets AS f (fid, reason, via_fid, since, generation) "
    f"SELECT fid, reason, via_fid, since, {_NEXT_GENERATION} FROM gone ON CONFLICT (fid) DO UPDATE SET "
    "reason = excluded.reason, via_fid = excluded.via_fid, since = excluded.since, removed_at = now(), "
    "generation = excluded.generation, policy = NULL, settled_at = NULL), "
    # Its history will have a hole, so that differences do not count as drift if it is added again.
    "forgotten AS (DELETE FROM pipeline.snapshots AS s USING gone WHERE s.fid = gone.fid) "
    "SELECT fid FROM gone"
)

_ADVANCE: Final = "UPDATE pipeline.target_set SET generation = generation + 1 RETURNING generation"


@dataclass(frozen=True, slots=True)
class SetChange:
    """What a transaction did to the set: nothing where `generation` is the one before.

    `added` and `removed` are FIDs that became targets or stopped being some.
    """

    base: int
    generation: int
    added: tuple[int, ...] = field(default=())
    removed: tuple[int, ...] = field(default=())


def recompute(execute: Execute, *, everyone: bool = False) -> SetChange:
    """Update the candidates' places, or those of all users; LOCK_TO_CHANGE must be held.

    The candidates stay staged until commit; a second call in one transaction begins with them.
    """
    base = int(execute(GENERATION)[0][0])
    if everyone:
        execute(STAGE_ALL)
    execute(_WIDEN)
    execute(_EMPTY_DESIRED)
    are_few = not everyone and execute(_PAIRS)[0][0] <= _MAX_PAIRS
    execute(_DESIRED_OF_FEW if are_few else _DESIRED_OF_ALL)
    entered = execute(_ENTER)
    gone = execute(_LEAVE)
    if not entered and not gone:
        return SetChange(base, base)
    generation = int(execute(_ADVANCE)[0][0])
    added = tuple(sorted(fid for fid, is_new in entered if is_new))
    return SetChange(base, generation, added, tuple(sorted(row[0] for row in gone)))
