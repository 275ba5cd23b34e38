"""The one validated place of configuration: each setting is declared once, as a field of `Settings`.

Belongs here: the declarations, and the URLs that follow from them. Does not belong here: starting anything. A setting
that is unset and means an embedded server stays None until `fc_pipeline.services.open_services` fills it in.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from fc_pipeline.config import setting_values as values
from fc_pipeline.config.hosts import is_loopback, is_this_machine
from fc_pipeline.config.postgres_url import PostgresUrl
from fc_pipeline.config.quiet_hours import QuietHours
from fc_pipeline.config.setting import Setting
from fc_pipeline.config.setting_values import EMBEDDED
from fc_pipeline.config.validators import ValidatorSets
from fc_pipeline.config.variables import read_variables, warn_of_idle, warn_of_unknown
from fc_pipeline.errors import ConfigError

__all__ = ["REMOTE_HUB_RPS", "Settings", "declared_settings"]

REMOTE_HUB_RPS: Final = 10.0
"""Requests per second to a hub that is not on this machine, where FC_HUB_RPS is unset."""


class Settings(BaseModel):
    """Everything that is configured, checked. Made by `Settings.load`; secrets are never in its repr."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    hub_urls: Annotated[
        tuple[str, ...],
        Setting(
            "hubs in order of preference, comma-separated, such as `{example}`",
            values.hub_urls,
            shown_default="the sample hub",
            example="http://127.0.0.1:3381",
        ),
    ] = ()
    hub_grpc: Annotated[
        tuple[str, ...],
        Setting(
            "gRPC addresses of hubs in order of preference, such as `{example}`, with `https` for TLS: what a hub's "
            "trie and headers say is read there",
            values.grpc_urls,
            example="http://127.0.0.1:3383",
        ),
    ] = ()
    hub_headers: Annotated[
        Mapping[str, Mapping[str, str]],
        Setting(
            "JSON object of headers to send, such as `{example}`; per hub: "
            '`{"https://hub.example": {"x-api-key": "KEY"}}`',
            values.hub_headers,
            given=("hub_urls", "hub_grpc"),
            example='{"x-api-key": "KEY"}',
        ),
    ] = Field(default_factory=dict[str, Mapping[str, str]], repr=False)
    hub_rps: Annotated[
        float | None,
        Setting(
            "requests per second allowed per hub, by all processes together",
            values.positive("requests per second per hub"),
            shown_default=f"unlimited on this machine, {REMOTE_HUB_RPS:g} elsewhere",
        ),
    ] = None
    validators: Annotated[
        ValidatorSets,
        Setting(
            "public keys in hex of the network's validators, comma-separated, whose signatures prove a block; "
            'sets that follow one another: `[{"effective_at": HEIGHT, "validator_public_keys": ["KEY"]}]`',
            values.validators,
        ),
    ] = ValidatorSets()
    postgres_url: Annotated[
        str | None,
        Setting(
            "database to write to, as `psql` takes it, such as `{example}`: [docs/postgres.md](docs/postgres.md); "
            "Dagster's own is the database `dagster` on the same server",
            values.postgres_url,
            shown_default="embedded",
            example="postgresql://user:password@host:5432/database",
        ),
    ] = Field(default=None, repr=False)
    pg_partitions: Annotated[
        int | None,
        Setting(
            "hash partitions by FID in which large tables of messages are made, such as `{example}`; those that are "
            "there stay as they are: [docs/postgres.md](docs/postgres.md#partitions)",
            values.whole_number("partitions", 2, 256),
            shown_default="none",
            example="16",
        ),
    ] = None
    redis_url: Annotated[
        str | None,
        Setting(
            "Redis, through which processes share a hub's requests per second; set it, to a URL or to `embedded`, if "
            "Postgres is on another machine and those are limited",
            values.redis_url,
            shown_default="embedded",
            example="redis://host:6379/0",
        ),
    ] = Field(default=None, repr=False)
    data_dir: Annotated[
        Path,
        Setting(
            "where embedded servers, lake and logs are stored",
            values.data_dir,
            shown_default="`data`",
            derive=lambda _: values.data_dir("data"),
        ),
    ]
    lake_uri: Annotated[
        str,
        Setting(
            "where the raw log is stored: a path or any URI that Arrow or fsspec opens, such as `{example}`: "
            "[docs/lake.md](docs/lake.md)",
            values.lake_uri,
            shown_default="`data/lake`",
            example="s3://bucket/lake",
            derive=lambda fields: str(fields["data_dir"] / "lake"),
        ),
    ] = Field(repr=False)
    start: Annotated[
        datetime | None,
        Setting(
            "first hour to keep, in UTC, such as `{example}`",
            values.hour,
            shown_default="as far back as the hub's feed goes",
            example="2026-11-20T00",
        ),
    ] = None
    follow_seconds: Annotated[
        float,
        Setting(
            "about how long one run follows the feed: it hands over when the next one is ready", values.follow_seconds
        ),
    ] = 300.0
    batch_seconds: Annotated[
        float,
        Setting("about so many seconds pass from one micro-batch of a shard to the next", values.positive("seconds")),
    ] = 1.0
    batch_events: Annotated[
        int,
        Setting(
            "a micro-batch is committed earlier when it has so many events", values.whole_number("events", 1, 1_000_000)
        ),
    ] = 10_000
    audit_days: Annotated[
        int,
        Setting(
            "in so many days every user is compared with the hub once",
            values.whole_number("days", 1, 256),
            shown_default="30; 7 where only targets are replicated",
            derive=lambda fields: 30 if fields["targets"] == "all" else 7,
        ),
    ] = 30
    targets: Annotated[
        Literal["all", "set"],
        Setting(
            "which users to replicate: `all`, or `set`: [docs/targets.md](docs/targets.md)",
            values.one_of("all", "set"),
            example="set",
        ),
    ] = "all"
    root_fids: Annotated[
        tuple[int, ...],
        Setting(
            "with `set`: users to index, together with the users they follow, such as `{example}`",
            values.fids,
            example="3,12",
            is_of_target_set=True,
        ),
    ] = ()
    client_fids: Annotated[
        tuple[int, ...],
        Setting(
            "with `set`: apps by FID; a user who signs up through one becomes a root",
            values.fids,
            is_of_target_set=True,
        ),
    ] = ()
    deny_fids: Annotated[
        tuple[int, ...],
        Setting("with `set`: users who are never targets", values.fids, is_of_target_set=True),
    ] = ()
    followed_per_root: Annotated[
        int | None,
        Setting(
            "with `set`: at most so many of the users that a root follows, the longest followed",
            values.whole_number("users per root", 1, 1_000_000),
            shown_default="all",
            is_of_target_set=True,
        ),
    ] = None
    target_mentions: Annotated[
        bool,
        Setting(
            "with `set`: whether a cast is kept because it mentions a target: `true` or `false`",
            values.boolean,
            is_of_target_set=True,
        ),
    ] = True
    removed_targets: Annotated[
        Literal["keep", "drop"],
        Setting(
            "with `set`: rows of users who are no longer targets: `drop`, or `keep` them as they were",
            values.one_of("keep", "drop"),
            is_of_target_set=True,
        ),
    ] = "drop"
    alert_urls: Annotated[
        tuple[str, ...],
        Setting(
            "whom `up` tells of what turns red or yellow, and when it is over: Apprise URLs, separated by commas or "
            "spaces, such as `{example}`: [docs/alerts.md](docs/alerts.md)",
            values.alert_urls,
            shown_default="nobody",
            example="mailto://user:password@example.com",
        ),
    ] = Field(default=(), repr=False)
    alert_quiet_hours: Annotated[
        QuietHours | None,
        Setting(
            "when what is yellow waits to be told, such as `{example}`; what is red never waits",
            values.quiet_hours,
            shown_default="none",
            example="22-07 UTC",
        ),
    ] = None

    log_format: Annotated[
        Literal["text", "json"],
        Setting(
            "log lines as `text`, or as `json`, an object per line: [docs/operations.md](docs/operations.md#logs)",
            values.one_of("text", "json"),
        ),
    ] = "text"
    metrics_port: Annotated[
        int,
        Setting(
            "port on which `up` and `metrics` serve metrics for Prometheus: [docs/metrics.md](docs/metrics.md); `0`: "
            "`up` serves none",
            values.whole_number("port", 0, 65_535),
        ),
    ] = 9464
    metrics_host: Annotated[
        str,
        Setting("address on which they are served: `0.0.0.0` lets other machines read them", values.host),
    ] = "127.0.0.1"

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
        variables = read_variables(os.environ if environ is None else environ, dotenv)
        declared = declared_settings()
        warn_of_unknown(variables, declared)
        warn_of_idle(variables, [name for name, setting in declared.items() if setting.is_of_target_set])
        fields = {name: info.get_default(call_default_factory=True) for name, info in cls.model_fields.items()}
        for name, setting in declared.items():
            if name in variables:
                fields[_field(name)] = setting.read(name, variables[name], fields)
        for name, setting in declared.items():
            if name not in variables and setting.derive is not None:
                fields[_field(name)] = setting.derive(fields)
        settings = cls(**fields)
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


def declared_settings() -> dict[str, Setting]:
    """The declaration of each FC_ variable, in the order of README's table."""
    return {
        f"FC_{field.upper()}": setting
        for field, info in Settings.model_fields.items()
        for setting in info.metadata
        if isinstance(setting, Setting)
    }


def _field(name: str) -> str:
    return name.removeprefix("FC_").lower()
