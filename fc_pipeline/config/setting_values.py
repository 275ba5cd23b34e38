"""How the text of each setting is read: from the text to a checked value, or `Unexpected`."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from fc_pipeline.config.postgres_url import PostgresUrl, UnreadableUrl
from fc_pipeline.config.project import project_root
from fc_pipeline.config.quiet_hours import QuietHours, UnreadableHours
from fc_pipeline.config.validators import UnreadableValidators, ValidatorSets

__all__ = [
    "EMBEDDED",
    "Unexpected",
    "alert_urls",
    "boolean",
    "data_dir",
    "fids",
    "follow_seconds",
    "grpc_urls",
    "host",
    "hour",
    "hub_headers",
    "hub_urls",
    "lake_uri",
    "one_of",
    "positive",
    "postgres_url",
    "quiet_hours",
    "redis_url",
    "validators",
    "whole_number",
]

EMBEDDED: Final = "embedded"
"""FC_REDIS_URL that says that this machine's own Redis is meant, where being unset could be an oversight."""

_BETWEEN_ALERT_URLS: Final = re.compile(r"\s+|,+\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""Commas within a URL are its own, such as those between the receivers of a mail."""
_ALERT_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


class Unexpected(Exception):
    """A value that does not parse. `problem` never repeats a value that may hold a secret."""

    def __init__(self, problem: str, expected: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def hub_urls(text: str) -> tuple[str, ...]:
    """URLs separated by commas, each once, without a trailing slash."""
    return _urls(text, "http(s) URLs separated by commas, e.g. http://127.0.0.1:3381")


def grpc_urls(text: str) -> tuple[str, ...]:
    """The same, of host and port alone."""
    expected = "http(s)://host:port separated by commas, e.g. http://127.0.0.1:3383"
    urls = _urls(text, expected)
    for url in urls:
        parts = urlsplit(url)
        if parts.path or (parts.port is None and parts.scheme == "http"):
            raise Unexpected(f"has {url!r}, which is no gRPC address", expected)
    return urls


def _urls(text: str, expected: str) -> tuple[str, ...]:
    urls: list[str] = []
    for item in _items(text):
        try:
            parts = urlsplit(item)
            valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            raise Unexpected("has a hub URL that cannot be read", expected) from None  # the error may quote a password
        if parts.username or parts.password:
            raise Unexpected("has a hub URL with a password in it", "credentials in FC_HUB_HEADERS, not in the URL")
        if parts.query or parts.fragment:
            raise Unexpected("has a hub URL with a query or fragment", "API keys in FC_HUB_HEADERS, not in the URL")
        if not valid:
            raise Unexpected(f"has {item!r}, which is no hub URL", expected)
        urls.append(item.rstrip("/"))
    return tuple(dict.fromkeys(urls))


def hub_headers(text: str, hub_urls: tuple[str, ...], hub_grpc: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Headers per hub URL; "*" holds those for every hub."""
    expected = 'JSON, {"header": "value"} for every hub or {"hub URL": {"header": "value"}} for one'
    try:
        raw: object = json.loads(text)
    except ValueError:
        # The parser's own message may quote a key: its chain is cut here.
        raise Unexpected("is not JSON", expected) from None
    if not isinstance(raw, dict):
        raise Unexpected("is not a JSON object", expected)
    headers: dict[str, dict[str, str]] = {}
    for name, value in cast(dict[str, object], raw).items():
        if isinstance(value, str):
            headers.setdefault("*", {})[_header_name(name, expected)] = _header_value(name, value)
        elif isinstance(value, dict):
            hub_url = name.rstrip("/")
            if hub_url not in hub_urls + hub_grpc:
                raise Unexpected(f"names the hub {name!r}, which is in neither FC_HUB_URLS nor FC_HUB_GRPC", expected)
            for key, item in cast(dict[str, object], value).items():
                if not isinstance(item, str):
                    raise Unexpected(f"has a value for {key!r} that is not text", expected)
                headers.setdefault(hub_url, {})[_header_name(key, expected)] = _header_value(key, item)
        else:
            raise Unexpected(f"has a value for {name!r} that is neither text nor an object", expected)
    return headers


def _header_name(name: str, expected: str) -> str:
    if not name or not all(char.isascii() and (char.isalnum() or char in "!#$%&'*+-.^_`|~") for char in name):
        raise Unexpected(f"has {name!r}, which is no header name", expected)
    return name


def _header_value(name: str, value: str) -> str:
    if not value.isprintable():
        raise Unexpected(f"has a value for {name!r} with a line break or control character", "one line of text")
    return value.strip()  # what stands around it cannot be sent


def positive(unit: str) -> Callable[[str], float]:
    """Reads a number above 0 of this unit."""
    return lambda text: _number(text, f"{unit}, above 0", lambda number: number > 0)


def follow_seconds(text: str) -> float:
    """Seconds from 0."""
    return _number(text, "seconds, 0 (drain and end) or more", lambda number: number >= 0)


def _number(text: str, expected: str, is_allowed: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        raise Unexpected(f"is {text!r}", expected) from None
    if not math.isfinite(number) or not is_allowed(number):
        raise Unexpected(f"is {text!r}", expected)
    return number


def whole_number(unit: str, least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number of this unit within the bounds."""
    expected = f"a whole number of {unit} from {least} to {most}"

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise Unexpected(f"is {text!r}", expected) from None
        if not least <= number <= most:
            raise Unexpected(f"is {text!r}", expected)
        return number

    return read


def one_of(*choices: str) -> Callable[[str], str]:
    """Reads one of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise Unexpected(f"is {text!r}", " or ".join(map(repr, choices)))
        return text

    return read


def boolean(text: str) -> bool:
    """`true` or `false`."""
    return one_of("true", "false")(text) == "true"


def postgres_url(text: str) -> str:
    """The URL as libpq reads it."""
    expected = (
        "postgresql://user:password@host:port/database, several hosts as host1:port1,host2:port2; what a user or "
        "password has of / @ : ? # or % is percent-encoded (/ as %2F)"
    )
    try:
        url = PostgresUrl.parse(text)
    except UnreadableUrl as error:
        raise Unexpected(str(error), expected) from None
    if not url.database:
        raise Unexpected("names no database", expected)
    if url.database == "dagster":
        raise Unexpected("names the database 'dagster'", "another one: 'dagster' is for Dagster's own storage")
    return url.for_libpq()


def redis_url(text: str) -> str | None:
    """The URL, or None for the embedded server."""
    expected = f"redis://host:port/0, rediss://…, unix:///path, or {EMBEDDED}"
    if text == EMBEDDED:
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise Unexpected("is no Redis URL", expected) from None
    if parts.scheme not in _REDIS_SCHEMES:
        raise Unexpected(f"has the scheme {parts.scheme!r}", expected)
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise Unexpected("names no server", expected)
    return text


def data_dir(text: str) -> Path:
    """An absolute path, relative to the project folder where it is not."""
    path = Path(text).expanduser()
    if not str(path).isprintable():
        raise Unexpected("has a line break or control character", "the path of a folder")
    return path if path.is_absolute() else project_root() / path


def lake_uri(text: str) -> str:
    """An absolute path, relative to the project folder where it is not; or a URI."""
    scheme, separator, place = text.partition("://")
    if separator:
        if not place.strip("/"):
            raise Unexpected(f"is {text!r}, which names no place", "a path, or a URI such as s3://bucket/lake")
        return f"{scheme}://{place.rstrip('/')}"
    path = Path(text).expanduser()
    return str(path if path.is_absolute() else project_root() / path)


def host(text: str) -> str:
    """Reads an address or name to listen on."""
    if not text or any(character.isspace() or character in "/:@" for character in text.strip("[]").replace("::", "")):
        raise Unexpected(f"is {text!r}", "an address or name of this machine, such as '127.0.0.1'")
    return text.strip("[]")


def fids(text: str) -> tuple[int, ...]:
    """FIDs separated by commas, each once."""
    expected = "FIDs (whole numbers from 1) separated by commas"
    found: list[int] = []
    for item in _items(text):
        # isdecimal alone admits other scripts' digits
        if not (item.isascii() and item.isdecimal()) or not 1 <= int(item) < 2**63:
            raise Unexpected(f"has {item!r}, which is no FID", expected)
        found.append(int(item))
    return tuple(dict.fromkeys(found))


def hour(text: str) -> datetime:
    """A full hour in UTC."""
    expected = "a full hour in UTC, e.g. 2026-01-31T08:00Z or 2026-01-31-08:00"
    try:
        moment = datetime.strptime(text, "%Y-%m-%d-%H:%M").replace(tzinfo=UTC)  # as Dagster writes its partitions
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise Unexpected(f"is {text!r}", expected) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if (moment.minute, moment.second, moment.microsecond) != (0, 0, 0):
        raise Unexpected(f"is {text!r}, which is not a full hour", expected)
    return moment


def alert_urls(text: str) -> tuple[str, ...]:
    """Apprise URLs, each once; what stands in them is told nobody, since most of it is a token or a password."""
    found = [url for item in _BETWEEN_ALERT_URLS.split(text) if (url := item.strip(","))]
    for number, url in enumerate(found, 1):
        if not _ALERT_URL.fullmatch(url):
            raise Unexpected(
                f"has a URL, number {number}, that cannot be read",
                "Apprise URLs separated by commas or spaces, e.g. json://127.0.0.1:8080/alerts",
            )
    return tuple(dict.fromkeys(found))


def quiet_hours(text: str) -> QuietHours:
    """Hours of the day."""
    try:
        return QuietHours.parse(text)
    except UnreadableHours:
        raise Unexpected(
            f"is {text!r}", "hours of the day and a time zone, e.g. 22-07 UTC or 22:30-6:15 Europe/Berlin"
        ) from None


def validators(text: str) -> ValidatorSets:
    """Public keys of the network's validators."""
    try:
        return ValidatorSets.parse(text)
    except UnreadableValidators as error:
        raise Unexpected(
            str(error),
            "public keys of 32 bytes in hex, separated by commas, or a JSON array of sets with validator_public_keys, "
            "effective_at and shard_ids",
        ) from None
