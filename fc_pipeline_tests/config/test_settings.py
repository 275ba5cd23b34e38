"""The settings: each variable's forms, who wins, and errors that name the variable and keep secrets."""

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn
from sqlalchemy.engine import URL, make_url

from fc_pipeline.config.hosts import is_loopback
from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import REMOTE_HUB_RPS, Settings
from fc_pipeline.errors import ConfigError


def load(**variables: str) -> Settings:
    return Settings.load({"FC_DATA_DIR": "/nowhere/data", **variables}, dotenv=None)


def test_nothing_set_means_the_embedded_servers_and_the_defaults():
    settings = load()
    assert settings.postgres_url is None
    assert settings.redis_url is None
    assert settings.hub_urls == ()
    assert settings.lake_uri == "/nowhere/data/lake"
    assert (settings.targets, settings.root_fids, settings.client_fids, settings.start) == ("all", (), (), None)
    assert (settings.follow_seconds, settings.batch_seconds, settings.batch_events) == (300, 1, 10_000)


def test_an_empty_value_counts_as_unset():
    assert load(FC_HUB_URLS="", FC_START="  ") == load()


def test_the_data_folder_is_under_the_project():
    assert Settings.load({}, dotenv=None).data_dir == project_root() / "data"
    assert Settings.load({"FC_DATA_DIR": "other"}, dotenv=None).data_dir == project_root() / "other"


def test_the_project_is_the_current_folder_where_it_has_our_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert project_root() != tmp_path
    (tmp_path / "workspace.yaml").write_text("load_from: [{python_module: fc_pipeline.definitions}]")
    assert project_root() == tmp_path


def test_the_environment_beats_the_file(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("FC_TARGETS=set\nFC_BATCH_EVENTS=7\nFC_POSTGRES_URL='postgresql://u:${X}@h/d'\nOTHER=1\n")
    settings = Settings.load({"FC_DATA_DIR": "/d", "FC_BATCH_EVENTS": "8"}, dotenv=dotenv)
    assert (settings.targets, settings.batch_events) == ("set", 8)
    assert settings.libpq_url() == "postgresql://u:%24%7BX%7D@h/d"  # taken as it is, not as a shell would


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_every_postgres_scheme_works(scheme: str):
    settings = load(FC_POSTGRES_URL=f"{scheme}://me:p%40ss@db.example:5433/replica?sslmode=require")
    assert settings.libpq_url() == "postgresql://me:p%40ss@db.example:5433/replica?sslmode=require"
    assert settings.sqlalchemy_url() == "postgresql+psycopg2://me:p%40ss@db.example:5433/replica?sslmode=require"
    assert settings.libpq_url("dagster") == "postgresql://me:p%40ss@db.example:5433/dagster?sslmode=require"
    assert settings.sqlalchemy_url("dagster").startswith("postgresql+psycopg2://me:p%40ss@db.example:5433/dagster?")


@pytest.mark.parametrize("password", ["with space", "a+b", "100%", "%41", "q'\"\\", "ü", "/?#@:&="])
def test_any_password_reaches_libpq_as_it_is(password: str):
    url = URL.create("postgresql", "me", password, "h", 5432, "d").render_as_string(hide_password=False)
    for written in (url, f"postgresql://me:{quote(password, safe='')}@h:5432/d"):
        settings = load(FC_POSTGRES_URL=written)
        assert parse_dsn(settings.libpq_url())["password"] == password
        assert make_url(settings.sqlalchemy_url()).password == password


def test_a_socket_folder_in_the_postgres_url_works():
    settings = load(FC_POSTGRES_URL="postgresql://me:x@/replica?host=/run/postgresql")
    assert settings.libpq_url() == "postgresql://me:x@/replica?host=%2Frun%2Fpostgresql"


def test_urls_before_the_embedded_server_is_opened_say_what_to_do():
    with pytest.raises(ConfigError, match="open_services"):
        load().libpq_url()


def test_hub_urls_keep_their_order_and_lose_slashes_and_doubles():
    settings = load(FC_HUB_URLS=" https://b.example/ , http://127.0.0.1:3381,https://b.example")
    assert settings.hub_urls == ("https://b.example", "http://127.0.0.1:3381")


def test_requests_per_second_are_unlimited_on_loopback_only():
    settings = load(FC_HUB_URLS="http://127.0.0.1:1,https://hub.example")
    assert settings.hub_rps_for("http://127.0.0.1:1") is None
    assert settings.hub_rps_for("https://hub.example") == REMOTE_HUB_RPS
    assert load(FC_HUB_RPS="2.5").hub_rps_for("http://localhost:1") == 2.5


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:3381", True),
        ("http://10.0.0.1", False),
        ("https://localhost.example", False),
    ],
)
def test_loopback(url: str, loopback: bool):
    assert is_loopback(url) is loopback


def test_headers_for_every_hub_and_for_one():
    headers = {"x-api-key": "all", "https://b.example/": {"x-api-key": "b"}}
    settings = load(FC_HUB_URLS="https://a.example,https://b.example", FC_HUB_HEADERS=json.dumps(headers))
    assert settings.hub_headers_for("https://a.example") == {"x-api-key": "all"}
    assert settings.hub_headers_for("https://b.example") == {"x-api-key": "b"}


def test_the_target_set_is_configured():
    settings = load(
        FC_TARGETS="set",
        FC_ROOT_FIDS="3, 2",
        FC_CLIENT_FIDS="9152",
        FC_DENY_FIDS="5,5",
        FC_FOLLOWED_PER_ROOT="100",
        FC_TARGET_MENTIONS="false",
        FC_REMOVED_TARGETS="keep",
    )
    assert (settings.root_fids, settings.client_fids, settings.deny_fids) == ((3, 2), (9152,), (5,))
    assert (settings.followed_per_root, settings.target_mentions, settings.removed_targets) == (100, False, "keep")
    unset = load(FC_TARGETS="set")
    assert (unset.deny_fids, unset.followed_per_root) == ((), None)
    assert (unset.target_mentions, unset.removed_targets) == (True, "drop")


def test_targets_are_audited_more_often_unless_told_otherwise():
    assert load().audit_days == 30
    assert load(FC_TARGETS="set").audit_days == 7
    assert load(FC_TARGETS="set", FC_AUDIT_DAYS="14").audit_days == 14


@pytest.mark.parametrize(
    "text", ["2026-01-31T08:00Z", "2026-01-31T08:00", "2026-01-31-08:00", "2026-01-31T10:00+02:00", "2026-01-31 08:00"]
)
def test_the_first_hour_in_its_forms(text: str):
    assert load(FC_START=text).start == datetime(2026, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FC_HUB_URLS", "hub.example"),
        ("FC_HUB_URLS", "ftp://hub.example"),
        ("FC_HUB_URLS", "http://hub.example:notaport"),
        ("FC_HUB_URLS", "http://hub.example/?q=1"),
        ("FC_HUB_HEADERS", "x-api-key: secret"),
        ("FC_HUB_HEADERS", "[1]"),
        ("FC_HUB_HEADERS", '{"x": 1}'),
        ("FC_HUB_HEADERS", '{"x y": "1"}'),
        ("FC_HUB_HEADERS", '{"x": "a\\nb"}'),
        ("FC_HUB_HEADERS", '{"https://unknown.example": {"x": "1"}}'),
        ("FC_HUB_GRPC", "127.0.0.1:3383"),
        ("FC_HUB_GRPC", "http://hub.example"),
        ("FC_HUB_GRPC", "https://hub.example/path"),
        ("FC_HUB_RPS", "0"),
        ("FC_HUB_RPS", "nan"),
        ("FC_POSTGRES_URL", "mysql://h/d"),
        ("FC_POSTGRES_URL", "not a url"),
        ("FC_POSTGRES_URL", "postgresql://h:port/d"),
        ("FC_POSTGRES_URL", "postgresql://h"),
        ("FC_POSTGRES_URL", "postgresql://h/dagster"),
        ("FC_REDIS_URL", "http://h"),
        ("FC_REDIS_URL", "redis://"),
        ("FC_REDIS_URL", "unix://"),
        ("FC_TARGETS", "some"),
        ("FC_ROOT_FIDS", "1,two"),
        ("FC_ROOT_FIDS", "0"),
        ("FC_CLIENT_FIDS", "-1"),
        ("FC_CLIENT_FIDS", "٣"),
        ("FC_CLIENT_FIDS", str(2**63)),
        ("FC_DENY_FIDS", "3;4"),
        ("FC_FOLLOWED_PER_ROOT", "0"),
        ("FC_FOLLOWED_PER_ROOT", "all"),
        ("FC_TARGET_MENTIONS", "yes"),
        ("FC_REMOVED_TARGETS", "hide"),
        ("FC_START", "yesterday"),
        ("FC_START", "2026-01-31T08:30Z"),
        ("FC_FOLLOW_SECONDS", "-1"),
        ("FC_BATCH_SECONDS", "0"),
        ("FC_BATCH_SECONDS", "inf"),
        ("FC_BATCH_EVENTS", "0"),
        ("FC_BATCH_EVENTS", "1.5"),
        ("FC_AUDIT_DAYS", "0"),
        ("FC_AUDIT_DAYS", "257"),
        ("FC_AUDIT_DAYS", "a week"),
        ("FC_VALIDATORS", "0xabcd"),
        ("FC_VALIDATORS", ","),
        ("FC_VALIDATORS", f"{'ab' * 32},0x{'ab' * 32}"),
        ("FC_VALIDATORS", "[1]"),
        ("FC_VALIDATORS", "[{"),
        ("FC_VALIDATORS", "[{}]"),
        ("FC_VALIDATORS", json.dumps([{"validator_public_keys": ["ab" * 32], "effective_at": -1}])),
        ("FC_VALIDATORS", json.dumps([{"validator_public_keys": ["ab" * 32], "shard_ids": 1}])),
        ("FC_VALIDATORS", json.dumps([{"validator_public_keys": ["ab" * 32], "efective_at": 1}])),
        ("FC_ALERT_URLS", "me@example.com"),
        ("FC_ALERT_URLS", "json://127.0.0.1 slack"),
        ("FC_ALERT_QUIET_HOURS", "at night"),
    ],
)
def test_a_wrong_value_is_refused_with_its_variable_and_what_is_expected(name: str, value: str):
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})
    assert name in caught.value.message
    assert caught.value.hint
    assert "expected" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FC_POSTGRES_URL", "postgresql://u:hunter2@h/d"),
        ("FC_REDIS_URL", "redis://:hunter2@h/0"),
        ("FC_HUB_HEADERS", '{"x-api-key": "hunter2"}'),
        ("FC_LAKE_URI", "s3://key:hunter2@bucket/lake"),
        ("FC_ALERT_URLS", "mailto://u:hunter2@example.com"),
    ],
)
def test_secrets_are_not_in_the_repr(name: str, value: str):
    assert "hunter2" not in repr(load(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FC_POSTGRES_URL", "mysql://u:hunter2@h/d"),
        ("FC_POSTGRES_URL", "postgresql://u:hunter2@h:port/d"),
        ("FC_REDIS_URL", "http://:hunter2@h/0"),
        ("FC_HUB_URLS", "https://u:hunter2@hub.example"),
        ("FC_HUB_URLS", "https://hub.example/?key=hunter2"),
        ("FC_HUB_URLS", "https://u:hunter2@[::1"),
        ("FC_HUB_URLS", "https://hub.example:hunter2"),
        ("FC_HUB_HEADERS", '{"x-api-key": "hunter2"'),
        ("FC_ALERT_URLS", "mailto://example.com hunter2"),
    ],
)
def test_secrets_are_not_in_errors_nor_in_what_caused_them(name: str, value: str):
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__


@pytest.mark.parametrize(
    "text",
    [
        "mailto://u:p@example.com?to=a@b.de,c@d.de,json://h/x",
        "mailto://u:p@example.com?to=a@b.de,c@d.de json://h/x",
        " mailto://u:p@example.com?to=a@b.de,c@d.de ,, json://h/x, json://h/x,\n",
    ],
)
def test_alert_urls_are_separated_by_commas_or_spaces_and_have_commas_of_their_own(text: str):
    assert load(FC_ALERT_URLS=text).alert_urls == ("mailto://u:p@example.com?to=a@b.de,c@d.de", "json://h/x")


def test_validators_follow_one_another_by_height_and_shard():
    keys = [bytes([number]) * 32 for number in range(4)]
    always = load(FC_VALIDATORS=f"0x{keys[0].hex()}, {keys[1].hex()}").validators
    assert always.at(1, 0) == always.at(2, 10**9) == {keys[0], keys[1]}
    sets = [
        {"effective_at": 100, "shard_ids": [1], "validator_public_keys": [keys[2].hex()]},
        {"effective_at": 0, "shard_ids": [1, 2], "validator_public_keys": [keys[0].hex(), keys[1].hex()]},
        {"effective_at": 200, "validator_public_keys": ["0x" + keys[3].hex()]},
    ]
    validators = load(FC_VALIDATORS=json.dumps(sets)).validators
    assert [validators.at(1, height) for height in (99, 100, 200)] == [{keys[0], keys[1]}, {keys[2]}, {keys[3]}]
    assert validators.at(2, 150) == {keys[0], keys[1]}
    assert validators.at(3, 150) == frozenset()
    assert not load().validators.at(1, 1)


def test_a_grpc_address_may_have_headers_of_its_own():
    headers = {"x-api-key": "all", "https://grpc.example:443": {"x-api-key": "own"}}
    settings = load(FC_HUB_GRPC="https://grpc.example:443/", FC_HUB_HEADERS=json.dumps(headers))
    assert settings.hub_grpc == ("https://grpc.example:443",)
    assert settings.hub_headers_for(settings.hub_grpc[0]) == {"x-api-key": "own"}


@given(st.lists(st.integers(min_value=1, max_value=2**63 - 1), unique=True))
def test_fids_come_out_as_they_went_in(fids: list[int]):
    assert load(FC_ROOT_FIDS=", ".join(map(str, fids))).root_fids == tuple(fids)


def test_a_lake_uri_that_names_no_place_is_refused():
    with pytest.raises(ConfigError, match="FC_LAKE_URI is 's3://', which names no place"):
        load(FC_LAKE_URI="s3://")
    assert load(FC_LAKE_URI="s3://bucket/lake/").lake_uri == "s3://bucket/lake"


def test_a_misspelt_name_is_said_aloud(caplog: pytest.LogCaptureFixture):
    load(FC_HUB_URL="http://127.0.0.1:1")
    assert "FC_HUB_URL is no setting of fc_pipeline; did you mean FC_HUB_URLS?" in caplog.text


def test_every_setting_is_known(caplog: pytest.LogCaptureFixture):
    load(FC_BATCH_EVENTS="7", FC_TARGETS="all", FC_START="2026-01-31T08:00Z", FC_LAKE_URI="lake", FC_LIVE_MINUTES="1")
    assert caplog.text == ""


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match=f"FC_DATA_DIR is '{file}/data', which cannot be made: Not a directory"):
        load(FC_DATA_DIR=str(file / "data")).make_data_dir()


REMOTE_POSTGRES = "postgresql://me@db.example/replica"
REMOTE_HUB = "https://hub.example"


@pytest.mark.parametrize(
    "variables",
    [
        {"FC_HUB_URLS": REMOTE_HUB},  # ten requests per second are its default
        {"FC_HUB_URLS": "http://127.0.0.1:3381", "FC_HUB_RPS": "5"},
        {"FC_HUB_URLS": f"http://127.0.0.1:3381,{REMOTE_HUB}"},
    ],
)
@pytest.mark.parametrize(
    "postgres_url",
    [
        REMOTE_POSTGRES,
        "postgresql://me@127.0.0.1,db.example/replica",
        "postgresql://me@/replica?host=db.example",
        "postgresql://me@/replica?hostaddr=192.0.2.7",
    ],
)
def test_budgets_apart_on_several_machines_are_refused(variables: dict[str, str], postgres_url: str):
    expected = (
        r"FC_REDIS_URL is unset, but FC_POSTGRES_URL is on another machine: .* each would ask \S+ \d+ times per "
        r"second.*set FC_REDIS_URL to a Redis that all of them reach.*FC_REDIS_URL=embedded"
    )
    with pytest.raises(ConfigError, match=expected):
        load(FC_POSTGRES_URL=postgres_url, **variables)
    assert load(FC_POSTGRES_URL=postgres_url, FC_REDIS_URL="embedded", **variables).redis_url is None
    shared = load(FC_POSTGRES_URL=postgres_url, FC_REDIS_URL="redis://db.example/0", **variables)
    assert shared.redis_url == "redis://db.example/0"


@pytest.mark.parametrize(
    "variables",
    [
        {"FC_POSTGRES_URL": REMOTE_POSTGRES},  # the sample hub of this machine
        {"FC_POSTGRES_URL": REMOTE_POSTGRES, "FC_HUB_URLS": "http://127.0.0.1:3381"},
        {"FC_HUB_URLS": REMOTE_HUB},
        *(
            {"FC_POSTGRES_URL": f"postgresql://me@{place}", "FC_HUB_URLS": REMOTE_HUB}
            for place in (
                "/replica",
                "localhost/replica",
                "127.0.0.1:5433/replica",
                "[::1]/replica",
                "/replica?host=/run/postgresql",
                "localhost,127.0.0.1/replica",
                f"{socket.gethostname()}/replica",
            )
        ),
    ],
)
def test_one_machine_needs_no_redis_of_its_own(variables: dict[str, str]):
    assert load(**variables).redis_url is None


def test_settings_of_the_target_set_without_it_are_warned_of_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fc_pipeline.config.variables._warned_of", set[str]())
    said: list[str] = []
    monkeypatch.setattr("fc_pipeline.config.variables._log.warning", lambda text, *values: said.append(text % values))
    load(FC_TARGETS="set", FC_ROOT_FIDS="3")
    load(FC_PIPELINE_UP="/data", FC_ROOT_FIDS="3")  # `up` has said it
    assert said == []
    for _ in range(2):
        load(FC_ROOT_FIDS="3", FC_REMOVED_TARGETS="keep")
    assert said == ["FC_ROOT_FIDS, FC_REMOVED_TARGETS: no effect without FC_TARGETS=set: every user is replicated"]
