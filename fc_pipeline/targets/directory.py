"""Queries on the set: its members with reasons, in words too, pending histories, its numbers. Read-only."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from fc_pipeline.store.bookkeeping import (
    FORMER_TARGETS,
    TARGET_CLIENTS,
    TARGET_DENIALS,
    TARGET_ROOTS,
    TARGETS,
)
from fc_pipeline.tables.user_profiles import USER_PROFILES

__all__ = [
    "SetNumbers",
    "Target",
    "all_targets",
    "failed_attempts",
    "not_targets",
    "numbers",
    "pending_fids",
    "target_fids",
    "why",
]


@dataclass(frozen=True, slots=True)
class Target:
    """One line of `pipeline.targets`, and the name that the user shows."""

    fid: int
    reason: str
    via_fid: int | None
    since: datetime
    synced_at: datetime | None
    failure: str | None
    username: str | None


@dataclass(frozen=True, slots=True)
class SetNumbers:
    """How large the set is, per reason; `unsynced` targets wait for their history, `failing` ones failed before."""

    generation: int
    by_reason: dict[str, int]
    unsynced: int
    failing: int
    former: int
    unsettled: int

    @property
    def targets(self) -> int:
        """All targets."""
        return sum(self.by_reason.values())


def target_fids(connection: sa.Connection) -> list[int]:
    """All targets, ascending."""
    return list(connection.scalars(sa.select(TARGETS.c.fid).order_by(TARGETS.c.fid)))


def pending_fids(connection: sa.Connection) -> list[int]:
    """The targets whose history is to be fetched: roots first, for they bring others; then by failed attempts."""
    query = sa.select(TARGETS.c.fid).where(TARGETS.c.synced_at.is_(None))
    is_followed = sa.case((TARGETS.c.reason == "followed", 1), else_=0)
    return list(connection.scalars(query.order_by(is_followed, TARGETS.c.attempts, TARGETS.c.fid)))


def failed_attempts(connection: sa.Connection) -> list[tuple[int, datetime]]:
    """The failed attempts at targets' histories: how many, and when last."""
    failing = sa.and_(TARGETS.c.synced_at.is_(None), TARGETS.c.attempts > 0)
    query = sa.select(TARGETS.c.attempts, sa.func.max(TARGETS.c.tried_at)).where(failing).group_by(TARGETS.c.attempts)
    return [(row[0], row[1]) for row in connection.execute(query)]


def not_targets(connection: sa.Connection, fids: Collection[int]) -> list[int]:
    """Those of these FIDs that are no targets, ascending."""
    found = set(connection.scalars(sa.select(TARGETS.c.fid).where(TARGETS.c.fid.in_(fids))))
    return sorted(set(fids) - found)


_NUMBERS: Final = sa.text(
    "SELECT (SELECT cache_key FROM pipeline.target_set), (SELECT generation FROM pipeline.target_set), "
    "(SELECT count(*) FROM pipeline.targets WHERE synced_at IS NULL), "
    "(SELECT count(*) FROM pipeline.targets WHERE synced_at IS NULL AND attempts > 0), "
    "(SELECT count(*) FROM pipeline.former_targets), "
    "(SELECT count(*) FROM pipeline.former_targets WHERE settled_at IS NULL)"
)
_BY_REASON: Final = sa.text("SELECT reason, count(*) FROM pipeline.targets GROUP BY reason ORDER BY reason")

_counted: dict[str, tuple[int, dict[str, int]]] = {}
"""Per set (cache_key) the generation counted last in this process, and its targets per reason: these change with the
generation alone, and counting a million lines takes a tenth of a second."""


def numbers(connection: sa.Connection) -> SetNumbers:
    """The set in numbers, from Postgres alone."""
    key, generation, *counts = connection.execute(_NUMBERS).one()
    if key is None:
        return SetNumbers(0, {}, *counts)
    if key not in _counted or _counted[key][0] != generation:
        rows = connection.execute(_BY_REASON).tuples()
        _counted[key] = (generation, dict(rows.all()))
    return SetNumbers(generation, dict(_counted[key][1]), *counts)


def all_targets(connection: sa.Connection, fids: Collection[int] | None = None) -> list[Target]:
    """Every target, or those of these FIDs, ascending."""
    profiles = USER_PROFILES.sql.c
    query = (
        sa.select(
            TARGETS.c.fid,
            TARGETS.c.reason,
            TARGETS.c.via_fid,
            TARGETS.c.since,
            TARGETS.c.synced_at,
            TARGETS.c.failure,
            profiles.username,
        )
        .outerjoin(USER_PROFILES.sql, (profiles.fid == TARGETS.c.fid) & profiles.deleted_at.is_(None))
        .order_by(TARGETS.c.fid)
    )
    if fids is not None:
        query = query.where(TARGETS.c.fid.in_(fids))
    return [Target(*row) for row in connection.execute(query)]


_FOLLOWING_ROOTS: Final = sa.text(
    "SELECT r.fid, r.reason, l.timestamp, r.via_fid FROM (SELECT fid, 'root' AS reason, NULL::bigint AS via_fid "
    "FROM pipeline.target_roots WHERE follows UNION ALL SELECT s.fid, 'client', min(s.client_fid) "
    "FROM pipeline.target_sign_ups AS s JOIN pipeline.target_clients AS c ON c.fid = s.client_fid "
    "WHERE NOT EXISTS (SELECT FROM pipeline.target_roots AS r WHERE r.fid = s.fid) GROUP BY s.fid) AS r "
    "JOIN public.links AS l ON l.fid = r.fid AND l.type = 'follow' AND l.target_fid = :fid AND l.deleted_at IS NULL "
    "WHERE NOT EXISTS (SELECT FROM pipeline.target_denials AS d WHERE d.fid = r.fid) ORDER BY r.fid"
)


def why(connection: sa.Connection, fid: int) -> list[str]:
    """Why a user is a target, or is not, in sentences; the first one answers the question."""
    found = all_targets(connection, [fid])
    followers = list(connection.execute(_FOLLOWING_ROOTS, {"fid": fid}))
    sentences = [_of_target(connection, found[0]) if found else _of_other(connection, fid, followed=bool(followers))]
    for root, reason, timestamp, via_fid in followers:
        chain = f"root {_name(connection, root)}"
        if reason == "client":
            chain += f", who signed up through client {_name(connection, via_fid)}"
        sentences.append(f"Followed since {_day(timestamp)} by {chain}.")
    if found and found[0].synced_at is None:
        reason = f": the last attempt failed, {found[0].failure}" if found[0].failure else ""
        sentences.append(f"Its history is still to be fetched{reason}: `fc-pipeline sync` does that at once.")
    return sentences


def how_to_change(connection: sa.Connection, fid: int) -> str:
    """The command, or the setting, by which the user becomes a target, or none any more."""
    found = all_targets(connection, [fid])
    if found and found[0].reason != "root":
        return f"To take it out: `fc-pipeline targets remove {fid} --deny`."
    named_in = {TARGET_ROOTS: "FC_ROOT_FIDS", TARGET_DENIALS: "FC_DENY_FIDS"}
    table = TARGET_ROOTS if found else TARGET_DENIALS
    named_by = connection.scalar(sa.select(table.c.named_by).where(table.c.fid == fid))
    purpose, command = ("take it out", "remove") if found else ("bring it in", "add")
    if named_by == "settings":
        return f"To {purpose}: take {fid} out of {named_in[table]}, then `fc-pipeline sync`."
    look = "" if found else f"; what that takes: `fc-pipeline targets add {fid} --what-if`"
    return f"To {purpose}: `fc-pipeline targets {command} {fid}`{look}."


def _of_target(connection: sa.Connection, target: Target) -> str:
    since = f"since {_day(target.since)}"
    name = _name(connection, target.fid)
    if target.reason == "root":
        root = connection.execute(sa.select(TARGET_ROOTS).where(TARGET_ROOTS.c.fid == target.fid)).one()
        by = "FC_ROOT_FIDS" if root.named_by == "settings" else "`fc-pipeline targets add`"
        brings = "the users it follows are targets, too" if root.follows else "the users it follows are not for that"
        limit = f", at most {root.most_followed:,}" if root.follows and root.most_followed is not None else ""
        return f"{name} is a target {since}: a root, named by {by}; those {brings}{limit}."
    via_name = _name(connection, target.via_fid)
    if target.reason == "client":
        return f"{name} is a target {since}: signed up through client {via_name}, and so a root."
    via = all_targets(connection, [target.via_fid or 0])
    chain = ""
    if via and via[0].reason == "client" and via[0].via_fid is not None:
        chain = f", who signed up through client {_name(connection, via[0].via_fid)}"
    return f"{name} is a target {since}: followed by root {via_name}{chain}."


def _of_other(connection: sa.Connection, fid: int, *, followed: bool) -> str:
    name = _name(connection, fid)
    if connection.scalar(sa.select(sa.exists(sa.select(TARGET_DENIALS.c.fid).where(TARGET_DENIALS.c.fid == fid)))):
        return f"{name} is no target: denied (FC_DENY_FIDS or `fc-pipeline targets remove --deny`)."
    if followed:
        return (
            f"{name} is no target: who follows it may bring only so many (FC_FOLLOWED_PER_ROOT, --most), others longer."
        )
    former = connection.execute(sa.select(FORMER_TARGETS).where(FORMER_TARGETS.c.fid == fid)).one_or_none()
    if former is not None:
        rows = {"keep": "its rows stayed as they were then", "drop": "its rows were dropped"}.get(
            former.policy or "", "what becomes of its rows is to be settled"
        )
        via = f" by {_name(connection, former.via_fid)}" if former.via_fid is not None else ""
        return (
            f"{name} is no target any more: it was one ({former.reason}{via}) from {_day(former.since)} "
            f"to {_day(former.removed_at)}; {rows}."
        )
    if connection.scalar(sa.select(sa.exists(sa.select(TARGET_CLIENTS.c.fid).where(TARGET_CLIENTS.c.fid == fid)))):
        return f"{name} is no target: a watched client; users who sign up through it are, it is none for that."
    return f"{name} is no target: no root, not followed by one, and not signed up through a watched client."


def _name(connection: sa.Connection, fid: int | None) -> str:
    profiles = USER_PROFILES.sql.c
    username = connection.scalar(sa.select(profiles.username).where(profiles.fid == fid, profiles.deleted_at.is_(None)))
    return f"FID {fid} ({username})" if username else f"FID {fid}"


def _day(moment: Any) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC") if isinstance(moment, datetime) else "an unknown time"
