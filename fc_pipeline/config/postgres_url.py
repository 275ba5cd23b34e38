"""Where a Postgres database is: one URL as libpq reads it, written again for each of those who open it.

libpq itself takes it apart, so that whatever psql opens is opened: several hosts, sockets, percent-encoded passwords.
Everything is written percent-encoded: libpq takes a `+` for a plus sign, other readers of URLs for a space.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self
from urllib.parse import quote

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

__all__ = ["PostgresUrl", "UnreadableUrl"]

_SCHEMES: Final = frozenset({"postgres", "postgresql"})
_IN_AUTHORITY: Final = ("user", "password", "host", "port", "dbname")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._:-]+")
"""Hosts that may stand in the authority: names and addresses, not folders of sockets."""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
"""Databases that may stand in the path: SQLAlchemy takes that literally, percent signs and all."""
_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class UnreadableUrl(ValueError):
    """What is wrong with a URL; never repeats what may be a password."""


@dataclass(frozen=True)
class PostgresUrl:
    """libpq's connection parameters by name, as far as the URL gives them."""

    parameters: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a URL apart; spaces and percent signs that nobody encoded stand for themselves.

        Raises:
            UnreadableUrl: it is none of Postgres', or libpq cannot read it.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            raise UnreadableUrl("is no database URL")
        if scheme.partition("+")[0] not in _SCHEMES:
            raise UnreadableUrl(f"has the scheme {scheme!r}")
        _refuse_doubles(rest)
        readable = _LONE_PERCENT.sub("%25", rest.replace(" ", "%20"))
        try:
            url = cls(parse_dsn(f"postgresql://{readable}"))
        except ProgrammingError:
            # libpq's message quotes what it cannot read, password and all: its chain is cut here.
            raise UnreadableUrl("is no database URL that Postgres' own client library can read") from None
        hosts, ports = url._hosts()
        if len(hosts) != len(ports) or not all(map(_is_port, ports)):
            raise UnreadableUrl("has ports that are none, or not one for each host")
        return url

    @property
    def database(self) -> str | None:
        """The database that is named."""
        return self.parameters.get("dbname")

    @property
    def servers(self) -> list[str]:
        """Names, addresses or folders of sockets of the servers; one that is empty is libpq's default, a socket."""
        return (self.parameters.get("hostaddr") or self.parameters.get("host", "")).split(",")

    def with_database(self, name: str) -> Self:
        """Another database of the same server."""
        return replace(self, parameters={**self.parameters, "dbname": name})

    def for_libpq(self) -> str:
        """The URL with its password, as libpq reads it: for ADBC, psycopg2 and psql."""
        return self._render("postgresql", several_hosts=True, any_database=True)

    def for_sqlalchemy(self) -> str:
        """The URL with its password, as SQLAlchemy reads it; psycopg2 is named, since the default driver changes."""
        return self._render("postgresql+psycopg2", several_hosts=False, any_database=False)

    def _render(self, scheme: str, *, several_hosts: bool, any_database: bool) -> str:
        """Write what the reader understands there into authority and path, and the rest into the query."""
        query = {name: value for name, value in self.parameters.items() if name not in _IN_AUTHORITY}
        hosts, ports = self._hosts()
        authority = ""
        if (several_hosts or len(hosts) == 1) and all(_HOST_NAME.fullmatch(host) for host in hosts):
            authority = ",".join(map(_with_port, hosts, ports))
        else:
            query |= {"host": ",".join(hosts)} if any(hosts) else {}
            query |= {"port": ",".join(ports)} if any(ports) else {}
        database = self.database or ""
        if not (any_database or _PLAIN_NAME.fullmatch(database)):
            query["dbname"] = database
            database = ""
        written = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return f"{scheme}://{self._userinfo()}{authority}/{quote(database, safe='')}{written and '?'}{written}"

    def _hosts(self) -> tuple[list[str], list[str]]:
        """Hosts and, for each, its port, empty where it is the default."""
        hosts = self.parameters.get("host", "").split(",")
        ports = self.parameters.get("port", "").split(",")
        return hosts, ports * len(hosts) if len(ports) == 1 else ports

    def _userinfo(self) -> str:
        user, password = self.parameters.get("user", ""), self.parameters.get("password")
        if not user and password is None:
            return ""
        return quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}") + "@"


def _with_port(host: str, port: str) -> str:
    written = f"[{host}]" if ":" in host else host
    return f"{written}:{port}" if port else written


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal() and 0 < int(text) < 65536)


def _refuse_doubles(rest: str) -> None:
    """Of a parameter that is given twice libpq takes the last: a host would be left out without a word."""
    names = [one.partition("=")[0] for one in rest.rpartition("@")[2].partition("?")[2].split("&")]
    for name in names:
        if names.count(name) > 1:
            raise UnreadableUrl(f"gives {name!r} twice")
