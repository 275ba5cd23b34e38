"""The one validated place of configuration (design section 5).

Belongs here: reading the FC_ variables and `.env`, checking them, and the URLs that follow from them. Does not belong
here: starting anything. A setting that is unset and means an embedded server stays None until
`fc_pipeline.services.open_services` fills it in.
"""

import json
import logging
import math
import os
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, Self, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from fc_pipeline.config.env_file import read_env_file
from fc_pipeline.config.postgres_url import PostgresUrl, UnreadableUrl
from fc_pipeline.config.project import project_root
from fc_pipeline.errors import ConfigError

__all__ = ["EMBEDDED", "KNOWN_VARIABLES", "REMOTE_HUB_RPS", "Settings", "is_loopback", "is_this_machine"]

EMBEDDED: Final = "embedded"
"""FC_REDIS_URL that says that this machine's own Redis is meant, where being unset could be an oversight."""

REMOTE_HUB_RPS: Final = 10.0
"""Requests per second to a hub that is not on this machine, where FC_HUB_RPS says nothing."""

KNOWN_VARIABLES: Final = (
    "FC_AUDIT_DAYS",
    "FC_BATCH_EVENTS",
    "FC_BATCH_SECONDS",
    "FC_CLIENT_FIDS",
    "FC_DATA_DIR",
    "FC_DENY_FIDS",
    "FC_FOLLOWED_PER_ROOT",
    "FC_FOLLOW_SECONDS",
    "FC_HUB_HEADERS",
    "FC_HUB_RPS",
    "FC_HUB_URLS",
    "FC_LAKE_URI",
    "FC_PIPELINE_INSTANCE",
    "FC_PIPELINE_UP",
    "FC_POSTGRES_URL",
    "FC_REDIS_URL",
    "FC_REMOVED_TARGETS",
    "FC_ROOT_FIDS",
    "FC_START",
    "FC_TARGETS",
    "FC_TARGET_MENTIONS",
)
_OF_THE_TARGET_SET: Final = (
    "FC_ROOT_FIDS",
    "FC_CLIENT_FIDS",
    "FC_DENY_FIDS",
    "FC_FOLLOWED_PER_ROOT",
    "FC_TARGET_MENTIONS",
    "FC_REMOVED_TARGETS",
)
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})

T = TypeVar("T")
_log = logging.getLogger(__name__)
_warned_of: Final[set[str]] = set()


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_this_machine(postgres_url: str) -> bool:
    """Whether all servers of a libpq URL are on this machine: by socket, loopback, or an address or name of its own."""
    return all(not host or host[0] in "/@" or _is_own(host) for host in PostgresUrl.parse(postgres_url).servers)


def _is_own(host: str) -> bool:
    if is_loopback(f"//[{host}]" if ":" in host else f"//{host}") or host == socket.gethostname():
        return True
    import psutil  # no other setting needs it

    addresses = (address.address for interface in psutil.net_if_addrs().values() for address in interface)
    return host in addresses


class Settings(BaseModel):
    """Everything that is configured, checked. Made by `Settings.load`; secrets are never in its repr."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data_dir: Path
    """Where embedded servers, the lake and logs keep their files."""
    lake_uri: str = Field(repr=False)
    """Absolute path or fsspec/Arrow URI of the raw log and the snapshots."""
    hub_urls: tuple[str, ...] = ()
    """Hubs in order of preference, without a trailing slash; empty means the sample hub."""
    hub_headers: Mapping[str, Mapping[str, str]] = Field(default_factory=dict[str, Mapping[str, str]], repr=False)
    """Per hub URL ("*" for every hub) the headers to send."""
    hub_rps: float | None = None
    """Requests per second per hub; None means unlimited on loopback, REMOTE_HUB_RPS elsewhere."""
    postgres_url: str | None = Field(default=None, repr=False)
    """libpq URL of the server and database; None means the embedded server."""
    redis_url: str | None = Field(default=None, repr=False)
    """Redis URL; None means the embedded server."""
    targets: Literal["all", "set"] = "all"
    """Whom to replicate: everybody, or the target set."""
    root_fids: tuple[int, ...] = ()
    """Users whom the owner names: they and those whom they follow are targets."""
    client_fids: tuple[int, ...] = ()
    """Apps whose users, by signing up, become roots."""
    deny_fids: tuple[int, ...] = ()
    """Users who are no targets, whoever follows them."""
    followed_per_root: int | None = None
    """At most so many of those whom a root follows, the longest followed; None means all."""
    target_mentions: bool = True
    """Whether a cast that mentions a target is kept for that."""
    removed_targets: Literal["keep", "drop"] = "drop"
    """What becomes of the rows of users who are targets no more."""
    start: datetime | None = None
    """The first hour to keep (UTC); None means as far back as the hub's feed goes."""
    follow_seconds: float = 300.0
    batch_seconds: float = 1.0
    batch_events: int = 10_000
    audit_days: int = 30
    """In so many days every user is compared with the hub once; 7 unless set where only targets are replicated."""

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, dotenv: Path | str | None = ".env") -> Self:
        """Read the FC_ variables.

        Args:
            environ: the environment; None means the process's own. It beats the file.
            dotenv: the file with the same names, relative to the current folder, else to the project root; None
                means no file. A file that is absent is not an error.

        Raises:
            ConfigError: names the variable and what is expected of it.
        """
        variables = _variables(os.environ if environ is None else environ, dotenv)
        _warn_of_unknown(variables)
        _warn_of_idle(variables)
        data_dir = _data_dir(variables.get("FC_DATA_DIR"))
        read = _Reader(variables).read
        hub_urls = read("FC_HUB_URLS", _hub_urls, ())
        targets: Literal["all", "set"] = read("FC_TARGETS", _targets, "all")
        redis_url: str | None = read("FC_REDIS_URL", _redis_url, None)
        settings = cls(
            data_dir=data_dir,
            lake_uri=read("FC_LAKE_URI", _lake_uri, str(data_dir / "lake")),
            hub_urls=hub_urls,
            hub_headers=read("FC_HUB_HEADERS", lambda text: _hub_headers(text, hub_urls), {}),
            hub_rps=read("FC_HUB_RPS", lambda text: _positive(text, "requests per second per hub, above 0"), None),
            postgres_url=read("FC_POSTGRES_URL", _postgres_url, None),
            redis_url=redis_url,
            targets=targets,
            root_fids=read("FC_ROOT_FIDS", _fids, ()),
            client_fids=read("FC_CLIENT_FIDS", _fids, ()),
            deny_fids=read("FC_DENY_FIDS", _fids, ()),
            followed_per_root=read("FC_FOLLOWED_PER_ROOT", _followed_per_root, None),
            target_mentions=read("FC_TARGET_MENTIONS", _yes_or_no, True),
            removed_targets=read("FC_REMOVED_TARGETS", _removed_targets, "drop"),
            start=read("FC_START", _hour, None),
            follow_seconds=read("FC_FOLLOW_SECONDS", _follow_seconds, 300.0),
            batch_seconds=read("FC_BATCH_SECONDS", lambda text: _positive(text, "seconds, above 0"), 1.0),
            batch_events=read("FC_BATCH_EVENTS", _batch_events, 10_000),
            audit_days=read("FC_AUDIT_DAYS", _audit_days, 30 if targets == "all" else 7),
        )
        if "FC_REDIS_URL" not in variables:
            settings.refuse_budgets_apart()
        return settings

    def make_data_dir(self) -> None:
        """Make the data folder. Raises ConfigError where this user cannot."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"FC_DATA_DIR is {str(self.data_dir)!r}, which cannot be made: {error.strerror}",
                hint="expected: a folder that this user may write to",
            ) from error

    def hub_headers_for(self, hub_url: str) -> dict[str, str]:
        """The headers to send to one hub: those for every hub, overridden by its own."""
        return {**self.hub_headers.get("*", {}), **self.hub_headers.get(hub_url.rstrip("/"), {})}

    def hub_rps_for(self, hub_url: str) -> float | None:
        """Requests per second allowed to one hub; None is unlimited."""
        if self.hub_rps is not None:
            return self.hub_rps
        return None if is_loopback(hub_url) else REMOTE_HUB_RPS

    def refuse_budgets_apart(self) -> None:
        """Raise ConfigError where each machine on this database would have a budget of requests of its own.

        Several machines may use a Postgres that is not on this one; without a Redis that they share, each asks a hub as
        often as all of them together may.
        """
        if self.postgres_url is None or not self.limits_requests or is_this_machine(self.postgres_url):
            return
        hub_url = next(url for url in self.hub_urls if self.hub_rps_for(url) is not None)
        raise ConfigError(
            "FC_REDIS_URL is unset, but FC_POSTGRES_URL is on another machine: of several machines on that database "
            f"each would ask {urlsplit(hub_url).hostname} {self.hub_rps_for(hub_url):g} times per second",
            hint="set FC_REDIS_URL to a Redis that all of them reach, one of your own: the embedded one listens on its "
            f"machine only; or, if only this machine runs fc_pipeline, FC_REDIS_URL={EMBEDDED}",
        )

    @property
    def limits_requests(self) -> bool:
        """Whether some hub may be asked only so often, which all processes must keep to together."""
        return any(self.hub_rps_for(url) is not None for url in self.hub_urls)

    def libpq_url(self, database: str | None = None) -> str:
        """The URL for libpq and ADBC, with the password; another database of the same server where one is named."""
        return self._url(database).for_libpq()

    def sqlalchemy_url(self, database: str | None = None) -> str:
        """The URL for SQLAlchemy with its driver (psycopg2) named, since SQLAlchemy's default driver changes."""
        return self._url(database).for_sqlalchemy()

    def _url(self, database: str | None) -> PostgresUrl:
        if self.postgres_url is None:
            raise ConfigError(
                "FC_POSTGRES_URL is unset and the embedded Postgres was not opened",
                hint="wrap the work in fc_pipeline.services.open_services(settings)",
            )
        url = PostgresUrl.parse(self.postgres_url)
        return url if database is None else url.with_database(database)


def _variables(environ: Mapping[str, str], dotenv: Path | str | None) -> dict[str, str]:
    """The FC_ variables that have a value: an empty one counts as unset, in the environment too."""
    found: dict[str, str] = {}
    file = _dotenv_file(dotenv)
    for source in (read_env_file(file) if file else {}, environ):
        found.update({name: value.strip() for name, value in source.items() if value and name.startswith("FC_")})
    return {name: value for name, value in found.items() if value}


def _dotenv_file(dotenv: Path | str | None) -> Path | None:
    if dotenv is None:
        return None
    here = Path.cwd() / dotenv
    if here.is_file() or Path(dotenv).is_absolute():
        return here if here.is_file() else None
    try:
        beside = project_root() / dotenv
    except ConfigError:  # outside a checkout there is no second place to look
        return None
    return beside if beside.is_file() else None


def _data_dir(value: str | None) -> Path:
    path = Path(value or "data").expanduser()
    if not str(path).isprintable():
        raise ConfigError("FC_DATA_DIR has a line break or control character", hint="expected: the path of a folder")
    return path if path.is_absolute() else project_root() / path


def _warn_of_unknown(variables: Mapping[str, str]) -> None:
    """Say which FC_ variables nobody reads: a misspelt one would leave its default in force.

    Once per process, and not in those that `up` starts: `up` itself has said it.
    """
    if "FC_PIPELINE_UP" in variables:
        return
    for name in sorted(variables):
        if name not in KNOWN_VARIABLES and not name.startswith("FC_LIVE_") and name not in _warned_of:
            _warned_of.add(name)
            close = get_close_matches(name, KNOWN_VARIABLES, n=1)
            _log.warning("%s is no setting of fc_pipeline%s", name, f"; did you mean {close[0]}?" if close else "")


def _warn_of_idle(variables: Mapping[str, str]) -> None:
    """Say which settings of the target set have no effect, since everybody is replicated; as often as the others."""
    if "FC_PIPELINE_UP" in variables or variables.get("FC_TARGETS", "all") != "all":
        return
    idle = [name for name in _OF_THE_TARGET_SET if name in variables]
    if idle and "FC_TARGETS" not in _warned_of:
        _warned_of.add("FC_TARGETS")
        _log.warning("%s: no effect without FC_TARGETS=set: every user is replicated", ", ".join(idle))


class _Reader:
    """Looks a variable up and turns what its parser complains about into one ConfigError."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def read(self, name: str, parse: Callable[[str], T], default: T) -> T:
        text = self._variables.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except _Unexpected as unexpected:
            raise ConfigError(
                f"{name} {unexpected.problem}", hint=f"expected: {unexpected.expected}"
            ) from unexpected.__cause__


class _Unexpected(Exception):
    """A value that does not parse. `problem` never repeats a value that may hold a secret."""

    def __init__(self, problem: str, expected: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _hub_urls(text: str) -> tuple[str, ...]:
    expected = "http(s) URLs separated by commas, e.g. http://127.0.0.1:3381"
    urls: list[str] = []
    for item in _items(text):
        try:
            parts = urlsplit(item)
            valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            raise _Unexpected("has a hub URL that cannot be read", expected) from None  # the error may quote a password
        if parts.username or parts.password:
            raise _Unexpected("has a hub URL with a password in it", "credentials in FC_HUB_HEADERS, not in the URL")
        if parts.query or parts.fragment:
            raise _Unexpected("has a hub URL with a query or fragment", "API keys in FC_HUB_HEADERS, not in the URL")
        if not valid:
            raise _Unexpected(f"has {item!r}, which is no hub URL", expected)
        urls.append(item.rstrip("/"))
    return tuple(dict.fromkeys(urls))


def _hub_headers(text: str, hub_urls: tuple[str, ...]) -> dict[str, dict[str, str]]:
    expected = 'JSON, {"header": "value"} for every hub or {"hub URL": {"header": "value"}} for one'
    try:
        raw: object = json.loads(text)
    except ValueError:
        # The parser's own message may quote a key: its chain is cut here.
        raise _Unexpected("is not JSON", expected) from None
    if not isinstance(raw, dict):
        raise _Unexpected("is not a JSON object", expected)
    headers: dict[str, dict[str, str]] = {}
    for name, value in cast(dict[str, object], raw).items():
        if isinstance(value, str):
            headers.setdefault("*", {})[_header_name(name, expected)] = _header_value(name, value)
        elif isinstance(value, dict):
            hub_url = name.rstrip("/")
            if hub_url not in hub_urls:
                raise _Unexpected(f"names the hub {name!r}, which is not in FC_HUB_URLS", expected)
            for key, item in cast(dict[str, object], value).items():
                if not isinstance(item, str):
                    raise _Unexpected(f"has a value for {key!r} that is not text", expected)
                headers.setdefault(hub_url, {})[_header_name(key, expected)] = _header_value(key, item)
        else:
            raise _Unexpected(f"has a value for {name!r} that is neither text nor an object", expected)
    return headers


def _header_name(name: str, expected: str) -> str:
    if not name or not all(char.isascii() and (char.isalnum() or char in "!#$%&'*+-.^_`|~") for char in name):
        raise _Unexpected(f"has {name!r}, which is no header name", expected)
    return name


def _header_value(name: str, value: str) -> str:
    if not value.isprintable():
        raise _Unexpected(f"has a value for {name!r} with a line break or control character", "one line of text")
    return value.strip()  # what stands around it cannot be sent


def _positive(text: str, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _Unexpected(f"is {text!r}", expected) from None
    if not math.isfinite(number) or number <= 0:
        raise _Unexpected(f"is {text!r}", expected)
    return number


def _follow_seconds(text: str) -> float:
    expected = "seconds, 0 (drain and end) or more"
    try:
        number = float(text)
    except ValueError:
        raise _Unexpected(f"is {text!r}", expected) from None
    if not math.isfinite(number) or number < 0:
        raise _Unexpected(f"is {text!r}", expected)
    return number


def _batch_events(text: str) -> int:
    return _whole_number(text, "events", 1, 1_000_000)


def _audit_days(text: str) -> int:
    return _whole_number(text, "days", 1, 256)


def _whole_number(text: str, of: str, least: int, most: int) -> int:
    expected = f"a whole number of {of} from {least} to {most}"
    try:
        number = int(text)
    except ValueError:
        raise _Unexpected(f"is {text!r}", expected) from None
    if not least <= number <= most:
        raise _Unexpected(f"is {text!r}", expected)
    return number


def _postgres_url(text: str) -> str:
    expected = (
        "postgresql://user:password@host:port/database, several hosts as host1:port1,host2:port2; what a user or "
        "password has of / @ : ? # or % is percent-encoded (/ as %2F)"
    )
    try:
        url = PostgresUrl.parse(text)
    except UnreadableUrl as error:
        raise _Unexpected(str(error), expected) from None
    if not url.database:
        raise _Unexpected("names no database", expected)
    if url.database == "dagster":
        raise _Unexpected("names the database 'dagster'", "another one: 'dagster' is for Dagster's own storage")
    return url.for_libpq()


def _redis_url(text: str) -> str | None:
    expected = f"redis://host:port/0, rediss://…, unix:///path, or {EMBEDDED}"
    if text == EMBEDDED:
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise _Unexpected("is no Redis URL", expected) from None
    if parts.scheme not in _REDIS_SCHEMES:
        raise _Unexpected(f"has the scheme {parts.scheme!r}", expected)
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise _Unexpected("names no server", expected)
    return text


def _lake_uri(text: str) -> str:
    scheme, separator, place = text.partition("://")
    if separator:
        if not place.strip("/"):
            raise _Unexpected(f"is {text!r}, which names no place", "a path, or a URI such as s3://bucket/lake")
        return f"{scheme}://{place.rstrip('/')}"
    path = Path(text).expanduser()
    return str(path if path.is_absolute() else project_root() / path)


def _targets(text: str) -> Literal["all", "set"]:
    match text:
        case "all" | "set":
            return text
        case _:
            raise _Unexpected(f"is {text!r}", "'all' or 'set'")


def _followed_per_root(text: str) -> int:
    return _whole_number(text, "users per root", 1, 1_000_000)


def _yes_or_no(text: str) -> bool:
    if text not in {"true", "false"}:
        raise _Unexpected(f"is {text!r}", "'true' or 'false'")
    return text == "true"


def _removed_targets(text: str) -> Literal["keep", "drop"]:
    match text:
        case "keep" | "drop":
            return text
        case _:
            raise _Unexpected(f"is {text!r}", "'keep' or 'drop'")


def _fids(text: str) -> tuple[int, ...]:
    expected = "FIDs (whole numbers from 1) separated by commas"
    fids: list[int] = []
    for item in _items(text):
        # isdecimal alone admits other scripts' digits
        if not (item.isascii() and item.isdecimal()) or not 1 <= int(item) < 2**63:
            raise _Unexpected(f"has {item!r}, which is no FID", expected)
        fids.append(int(item))
    return tuple(dict.fromkeys(fids))


def _hour(text: str) -> datetime:
    expected = "a full hour in UTC, e.g. 2026-01-31T08:00Z or 2026-01-31-08:00"
    try:
        moment = datetime.strptime(text, "%Y-%m-%d-%H:%M").replace(tzinfo=UTC)  # as Dagster writes its partitions
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise _Unexpected(f"is {text!r}", expected) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if (moment.minute, moment.second, moment.microsecond) != (0, 0, 0):
        raise _Unexpected(f"is {text!r}, which is not a full hour", expected)
    return moment
