"""The calls that apps make, and whom and what they ask for: as often as the network's rows speak of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from statistics import mode
from typing import Any

from fc_pipeline.serving.objects import served_objects
from fc_pipeline.store.session import PsycopgConnection

__all__ = ["CALLS", "Drawn", "draw", "unmeasured"]

CALLS = {
    "api.change_horizon": "SELECT api.change_horizon()",
    "api.changes_since": "SELECT * FROM api.changes_since('casts', api.change_horizon() - 100, 100)",
    "api.cast_text": "SELECT api.cast_text(c.text, c.mentions, c.mentions_positions) FROM casts AS c "
    "WHERE c.hash = api.hash_bytes(%(cast)s)",
    "api.casts_by_hash": "SELECT * FROM api.casts_by_hash(%(casts)s, %(viewer)s)",
    "api.cast_by_hash": "SELECT * FROM api.cast_by_hash(%(cast)s, %(viewer)s)",
    "api.cast_context": "SELECT * FROM api.cast_context(%(viewer)s, %(casts)s)",
    "api.following_feed": "SELECT * FROM api.following_feed(%(viewer)s)",
    "api.feed_of": "SELECT * FROM api.feed_of(%(users)s, %(viewer)s)",
    "api.user_casts": "SELECT * FROM api.user_casts(%(user)s, %(viewer)s)",
    "api.channel_feed": "SELECT * FROM api.channel_feed(%(channel)s, %(viewer)s)",
    "api.replies": "SELECT * FROM api.replies(%(replied)s, %(viewer)s)",
    "api.conversation": "SELECT * FROM api.conversation(%(reply)s, %(viewer)s)",
    "api.liked_casts": "SELECT * FROM api.liked_casts(%(viewer)s, %(viewer)s)",
    "api.top_casts": "SELECT * FROM api.top_casts(%(user)s, %(viewer)s)",
    "api.trending": "SELECT * FROM api.trending(viewer => %(viewer)s)",
    "api.trending, an hour": "SELECT * FROM api.trending('1 hour', viewer => %(viewer)s)",
    "api.search_casts": "SELECT * FROM api.search_casts(%(word)s, viewer => %(viewer)s)",
    "api.search_casts, two words": "SELECT * FROM api.search_casts(%(words)s, viewer => %(viewer)s)",
    "api.search_casts, beginning": "SELECT * FROM api.search_casts(left(%(word)s, 3) || '*', viewer => %(viewer)s)",
    "api.search_casts, of an author": "SELECT * FROM api.search_casts(%(word)s, author => %(user)s)",
    "api.search_casts, of a channel": "SELECT * FROM api.search_casts(%(word)s, url => %(channel)s)",
    "api.users": "SELECT * FROM api.users(%(users)s, %(viewer)s)",
    "api.user_by_name": "SELECT * FROM api.user_by_name(%(name)s, %(viewer)s)",
    "api.users_by_prefix": "SELECT * FROM api.users_by_prefix(%(prefix)s, %(viewer)s)",
    "api.users_by_address": "SELECT * FROM api.users_by_address(ARRAY[%(address)s], %(viewer)s)",
    "api.user_context": "SELECT * FROM api.user_context(%(viewer)s, %(users)s)",
    "api.cast_reactions": "SELECT * FROM api.cast_reactions(%(cast)s, %(viewer)s)",
    "api.followers": "SELECT * FROM api.followers(%(user)s, %(viewer)s)",
    "api.following": "SELECT * FROM api.following(%(viewer)s, %(viewer)s)",
    "api.mutual_follows": "SELECT * FROM api.mutual_follows(%(viewer)s)",
    "api.suggested_follows": "SELECT * FROM api.suggested_follows(%(viewer)s)",
    "api.notifications": "SELECT * FROM api.notifications(%(user)s)",
    "api.active_users": "SELECT * FROM api.active_users()",
    "api.active_users, a day": "SELECT * FROM api.active_users('1 day')",
    "api.user_statistics": "SELECT * FROM api.user_statistics(%(user)s)",
    "api.hourly_statistics": "SELECT * FROM api.hourly_statistics()",
}
"""What is measured: the function, what is special about the call, and its statement."""

_LISTED = 30
"""How many are asked for at once, where a call takes a list."""
_DRAWN_ROWS = 2_000

# What is in a sample of rows is there as often as rows speak of it.
_SAMPLES = {
    "viewer": ("reactions", "fid", "true"),
    "user": ("reactions", "target_fid", "target_fid IS NOT NULL"),
    "cast": ("reactions", "api.hash_text(target_hash)", "target_hash IS NOT NULL"),
    "replied": ("casts", "api.hash_text(parent_hash)", "parent_hash IS NOT NULL"),
    "reply": ("casts", "api.hash_text(hash)", "parent_hash IS NOT NULL"),
    "channel": ("casts", "parent_url", "parent_url IS NOT NULL"),
    "word": ("casts", "split_part(text, ' ', 1 + (random() * 7)::integer)", "text <> ''"),
    "words": ("casts", "regexp_substr(text, '[^ ]+ [^ ]+')", "text ~ ' '"),
    "address": ("verifications", "address", "true"),
}


@dataclass(frozen=True)
class Drawn:
    """What calls ask for, by kind, and the popular one of each."""

    values: Mapping[str, list[Any]]
    hottest: Mapping[str, Any]

    def arguments(self, random: Random) -> dict[str, Any]:
        """Of one call."""
        one = {kind: random.choice(values) for kind, values in self.values.items()}
        return one | {f"{kind}s": random.choices(self.values[kind], k=_LISTED) for kind in ("cast", "user")}

    def hottest_arguments(self) -> dict[str, Any]:
        """Of a call for what is most popular; its lists are those of the first few."""
        return {**self.hottest, **{f"{kind}s": self.values[kind][:_LISTED] for kind in ("cast", "user")}}


def draw(connection: PsycopgConnection) -> Drawn:
    """Draw from a network's tables."""
    values = {kind: _sample(connection, *source) for kind, source in _SAMPLES.items()}
    hottest = {kind: _most_spoken_of(connection, *source) for kind, source in _SAMPLES.items()}
    names = dict(_rows(connection, "SELECT fid, lower(username) FROM user_profiles WHERE username IS NOT NULL"))
    values["name"] = [names[fid] for fid in values["user"] if fid in names]
    values["prefix"] = [name[: 2 + place % 3] for place, name in enumerate(values["name"])]
    return Drawn(values, {kind: mode(found) for kind, found in values.items()} | hottest)


def _sample(connection: PsycopgConnection, table: str, value: str, condition: str) -> list[Any]:
    rows = f"SELECT {value} FROM {table} WHERE {condition} AND deleted_at IS NULL ORDER BY random() LIMIT {_DRAWN_ROWS}"
    return [found for (found,) in _rows(connection, rows)]


def _most_spoken_of(connection: PsycopgConnection, table: str, value: str, condition: str) -> Any:
    rows = f"SELECT {value} FROM {table} WHERE {condition} AND deleted_at IS NULL GROUP BY 1 ORDER BY count(*) DESC, 1"
    return _rows(connection, f"{rows} LIMIT 1")[0][0]


def _rows(connection: PsycopgConnection, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def unmeasured() -> set[str]:
    """Functions of schema `api`, other than those that calls have in common, of which no call is here."""
    called = {re.sub(",.*", "", name) for name in CALLS}
    served = {one.name for one in served_objects() if one.schema == "api" and one.group != "forms"}
    return served - called
