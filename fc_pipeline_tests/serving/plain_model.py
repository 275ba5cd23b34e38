"""What schema `api` has to answer, worked out from the tables' live rows in plain Python, without an index."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fc_pipeline_tests.support.folded import FoldedDatabase

Shown = dict[str, Any]
"""A row as a call returns it, without next_cursor."""
_TIME = 'coalesce(block_time, "timestamp") AS at'


def hex_of(key: bytes | None) -> str | None:
    return None if key is None else "0x" + key.hex()


def with_names(text: str, mentions: list[int], positions: list[int], name_of: Callable[[int], str]) -> str:
    """The text with names at byte positions; a mention without a place between two characters is left out."""
    utf8 = text.encode()
    placed: list[tuple[int, int, str]] = []
    for place, (fid, at) in enumerate(zip(mentions, positions, strict=False)):
        try:
            is_place = 0 <= at <= len(utf8) and bool(utf8[:at].decode() or True)
        except UnicodeDecodeError:
            is_place = False
        if is_place:
            placed.append((at, place, name_of(fid)))
    for at, _, name in sorted(placed, reverse=True):
        utf8 = utf8[:at] + name.encode() + utf8[at:]
    return utf8.decode()


@dataclass
class PlainModel:
    """The live rows of a database."""

    database: FoldedDatabase
    casts: dict[bytes, Any] = field(init=False)
    profiles: dict[int, Any] = field(init=False)
    reactions: list[Any] = field(init=False)
    links: list[Any] = field(init=False)
    embeds: dict[bytes, list[Any]] = field(init=False)

    def __post_init__(self) -> None:
        rows = self.database.rows
        live = "WHERE deleted_at IS NULL"
        self.casts = {row.hash: row for row in rows(f"SELECT *, {_TIME} FROM casts {live}")}
        self.profiles = {row.fid: row for row in rows(f"SELECT * FROM user_profiles {live}")}
        self.reactions = [row for row in rows(f"SELECT *, {_TIME} FROM reactions {live}") if row.target_hash]
        self.links = rows(f"SELECT *, {_TIME} FROM links {live}")
        self.embeds = defaultdict(list)
        for row in rows("SELECT * FROM embeds ORDER BY hash, position"):
            self.embeds[row.hash].append(row)
        self.reacted = {(row.fid, row.type, row.target_fid, row.target_hash) for row in self.reactions}
        self.linked = {(row.fid, row.type, row.target_fid) for row in self.links}
        self.reactions_to = Counter((row.type, row.target_hash) for row in self.reactions)
        self.replies_to = Counter(row.parent_hash for row in self.casts.values())
        self.quotes_of = Counter(row.cast_hash for rows in self.embeds.values() for row in rows)
        self.casts_by = Counter(row.fid for row in self.casts.values())
        self.follows = [row for row in self.links if row.type == "follow"]
        self.followers_of = Counter(row.target_fid for row in self.follows)
        self.following_of = Counter(row.fid for row in self.follows)

        self.blocks = {(row.fid, row.target_fid) for row in self.links if row.type == "block"}
        self.threads = {key: self._thread_of(cast) for key, cast in self.casts.items()}

    def hidden_from(self, viewer: int | None) -> set[int]:
        return {b for a, b in self.blocks if a == viewer} | {a for a, b in self.blocks if b == viewer}

    def name_of(self, fid: int) -> str | None:
        return self.profiles[fid].username if fid in self.profiles else None

    def text_of(self, cast: Any) -> str:
        return with_names(
            cast.text, cast.mentions or [], cast.mentions_positions or [], lambda f: "@" + (self.name_of(f) or f"!{f}")
        )

    def _thread_of(self, cast: Any) -> tuple[bytes, int]:
        """The root of its thread, and how far it is."""
        depth, key = 0, cast.hash
        while (here := self.casts.get(key)) is not None and here.parent_hash is not None:
            depth, key = depth + 1, here.parent_hash
        return key, depth

    def shown(self, key: bytes, viewer: int | None) -> Shown:
        """A cast as every call shows it."""
        cast, (root, depth) = self.casts[key], self.threads[key]
        author = self.profiles.get(cast.fid)
        embeds: list[Shown] = []
        for one in self.embeds[key]:
            if one.cast_hash is None:
                embeds.append({"url": one.url})
                continue
            quoted = self.casts.get(one.cast_hash)
            if quoted is not None and quoted.fid in self.hidden_from(viewer):
                quoted = None
            embeds.append(
                {
                    "cast": {
                        "hash": hex_of(one.cast_hash),
                        "fid": quoted.fid if quoted else one.cast_fid,
                        "username": self.name_of(quoted.fid) if quoted else None,
                        "text": self.text_of(quoted) if quoted else None,
                        "network_time": quoted.at if quoted else None,
                    }
                }
            )
        return {
            "hash": hex_of(key),
            "fid": cast.fid,
            "username": author and author.username,
            "display_name": author and author.display_name,
            "pfp_url": author and author.pfp_url,
            "text": self.text_of(cast),
            "network_time": cast.at,
            "timestamp": cast.timestamp,
            "parent_hash": hex_of(cast.parent_hash),
            "parent_fid": cast.parent_fid,
            "parent_url": cast.parent_url,
            "root_hash": hex_of(root),
            "depth": depth,
            "mentions": cast.mentions or [],
            "embeds": embeds,
            "app_fid": cast.app_fid,
            "replies": self.replies_to[key],
            "likes": self.reactions_to["like", key],
            "recasts": self.reactions_to["recast", key],
            "quotes": self.quotes_of[key],
            "viewer_liked": (viewer, "like", cast.fid, key) in self.reacted if viewer else None,
            "viewer_recast": (viewer, "recast", cast.fid, key) in self.reacted if viewer else None,
        }

    def newest(self, casts: Iterable[Any], viewer: int | None) -> list[bytes]:
        hidden = self.hidden_from(viewer)
        found = [(cast.at, cast.hash) for cast in casts if cast.fid not in hidden]
        return [key for _, key in sorted(found, reverse=True)]

    def of_authors(self, fids: Iterable[int], viewer: int | None, *, replies: bool) -> list[bytes]:
        authors = set(fids)
        casts = [c for c in self.casts.values() if c.fid in authors and (replies or c.parent_hash is None)]
        return self.newest(casts, viewer)

    def followed_by(self, fid: int) -> set[int]:
        return {row.target_fid for row in self.follows if row.fid == fid}

    def conversation(self, key: bytes, viewer: int | None) -> list[bytes]:
        """The root first, then the oldest."""
        root = self.threads[key][0] if key in self.casts else key
        hidden = self.hidden_from(viewer)
        members = [c for c in self.casts.values() if self.threads[c.hash][0] == root and c.fid not in hidden]
        return [c.hash for c in sorted(members, key=lambda c: (c.hash != root, c.at, c.hash))]

    def reacted_to(self, fid: int, kind: str, viewer: int | None) -> list[bytes]:
        """Casts, the latest reaction first."""
        hidden = self.hidden_from(viewer)
        found = [
            (r.at, r.target_hash)
            for r in self.reactions
            if r.fid == fid and r.type == kind and r.target_fid not in hidden and self.is_target(r)
        ]
        return [key for _, key in sorted(found, reverse=True)]

    def is_target(self, row: Any) -> bool:
        """Whether a reaction is to a cast that is here, of the author whom it names."""
        return row.target_hash in self.casts and self.casts[row.target_hash].fid == row.target_fid

    def top(self, fid: int, viewer: int | None) -> list[bytes]:
        if fid in self.hidden_from(viewer):
            return []
        keys = [cast.hash for cast in self.casts.values() if cast.fid == fid]
        return sorted(keys, key=lambda key: (self.reactions_to["like", key], key), reverse=True)

    def trending(self, first: datetime, last: datetime, viewer: int | None) -> list[bytes]:
        hidden = self.hidden_from(viewer)
        score = Counter(
            r.target_hash
            for r in self.reactions
            if first < r.at <= last and self.is_target(r) and r.target_fid not in hidden
        )
        return sorted(score, key=lambda key: (score[key], key), reverse=True)

    def people(self, found: Iterable[tuple[datetime, int]], viewer: int | None) -> list[int]:
        """Users with a profile, the latest first."""
        hidden = self.hidden_from(viewer)
        return [fid for _, fid in sorted(found, reverse=True) if fid in self.profiles and fid not in hidden]

    def shown_user(self, fid: int, viewer: int | None) -> Shown:
        row = self.profiles[fid]
        same = ("username", "display_name", "bio", "pfp_url", "banner_url", "url", "location", "custody_address")
        return {
            "fid": fid,
            **{name: getattr(row, name) for name in same},
            "eth_address": row.primary_eth_address,
            "sol_address": row.primary_sol_address,
            "registered_at": row.registered_at,
            "pro_until": row.pro_until,
            "followers": self.followers_of[fid],
            "following": self.following_of[fid],
            "casts": self.casts_by[fid],
            "viewer_follows": (viewer, "follow", fid) in self.linked if viewer else None,
            "follows_viewer": (fid, "follow", viewer) in self.linked if viewer else None,
        }

    def notifications(self, fid: int) -> list[tuple[Any, ...]]:
        """Kind, time, who (ten at most), how many, of which cast: the latest first."""
        hidden = self.hidden_from(fid) | {fid}
        found: list[tuple[datetime, str, str, list[int], int]] = []
        for cast in self.casts.values():
            if cast.fid in hidden:
                continue
            if cast.parent_fid == fid:
                found.append((cast.at, "reply", cast.hash.hex(), [cast.fid], 1))
            elif fid in (cast.mentions or []):
                found.append((cast.at, "mention", cast.hash.hex(), [cast.fid], 1))
        groups = defaultdict[tuple[str, str, Any], list[tuple[datetime, int]]](list)
        for row in self.reactions:
            if row.target_fid == fid and row.fid not in hidden and self.is_target(row):
                groups[row.type, row.target_hash.hex(), row.at.date()].append((row.at, row.fid))
        for row in self.follows:
            if row.target_fid == fid and row.fid not in hidden:
                groups["follow", "", row.at.date()].append((row.at, row.fid))
        for (kind, key, _), events in groups.items():
            ordered = sorted(events, reverse=True)
            found.append((ordered[0][0], kind, key, [who for _, who in ordered[:10]], len(ordered)))
        return [
            (kind, at, fids, total, "0x" + key if key else None)
            for at, kind, key, fids, total in sorted(found, reverse=True)
        ]

    def last_reaction(self) -> datetime:
        return max(row.at for row in self.reactions)
