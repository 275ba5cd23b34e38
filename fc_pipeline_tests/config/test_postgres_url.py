"""The URL of a database: every reader of what we write finds what the user wrote, and the server behind it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg2
import pytest
import sqlalchemy as sa
from dagster_postgres.utils import create_pg_engine
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from fc_pipeline.config.postgres_url import PostgresUrl
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store.writer_connection import WriterConnection
from fc_pipeline_tests.support.postgres_link import Link

SOME_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda text: text.strip(",")
)
HOSTS = st.lists(
    st.sampled_from(["db.example", "10.0.0.1", "::1", "/run/postgresql", "/my ü%41+"]),
    min_size=1,
    max_size=3,
)


def libpq_parameters(url: str) -> dict[str, str]:
    """What libpq takes from a URL; several default ports are one."""
    return {name: value for name, value in parse_dsn(url).items() if value.strip(",")}


def sqlalchemy_parameters(url: str) -> dict[str, str]:
    """The same of what SQLAlchemy gives to psycopg2."""
    _, found = PGDialect_psycopg2().create_connect_args(sa.make_url(url))
    return {name: str(value) for name, value in found.items() if str(value).strip(",")}


@given(SOME_TEXT, SOME_TEXT, SOME_TEXT, SOME_TEXT, HOSTS, st.booleans())
def test_every_reader_finds_what_was_written(
    user: str, password: str, database: str, options: str, hosts: list[str], with_ports: bool
):
    given_parameters = {"user": user, "password": password, "dbname": database, "options": options}
    given_parameters["host"] = ",".join(hosts)
    if with_ports:
        given_parameters["port"] = ",".join(str(5432 + n) for n in range(len(hosts)))
    url = PostgresUrl(given_parameters)
    assert libpq_parameters(url.for_libpq()) == given_parameters
    assert PostgresUrl.parse(url.for_libpq()).for_libpq() == url.for_libpq()
    assert sqlalchemy_parameters(url.for_sqlalchemy()) == given_parameters
    assert "+" not in url.for_libpq()
    assert "+" not in url.for_sqlalchemy().partition("://")[2]


@pytest.mark.parametrize(
    ("written", "for_libpq"),
    [
        ("postgresql://u@a:5432,b:5433/d", "postgresql://u@a:5432,b:5433/d"),
        ("postgresql://a,b:1/d?target_session_attrs=any", "postgresql://a,b:1/d?target_session_attrs=any"),
        ("postgresql://[::1]:1,[::2]/d", "postgresql://[::1]:1,[::2]/d"),
        (
            "postgresql://u:p@/d?host=/run/a,/run/b&port=1,2",
            "postgresql://u:p@/d?host=%2Frun%2Fa%2C%2Frun%2Fb&port=1%2C2",
        ),
        ("postgresql://%2Frun%2Fmy%20folder/d", "postgresql:///d?host=%2Frun%2Fmy%20folder"),
        ("postgresql://h/d?options=-c%20jit%3Doff", "postgresql://h/d?options=-c%20jit%3Doff"),
        ("postgresql://h/d?user=me&password=a%2Bb", "postgresql://me:a%2Bb@h/d"),
        ("postgresql://h/my%20d%C3%A4ta", "postgresql://h/my%20d%C3%A4ta"),
        ("postgresql://me:50%@h/d", "postgresql://me:50%25@h/d"),
    ],
)
def test_urls_as_people_write_them(written: str, for_libpq: str):
    url = PostgresUrl.parse(written)
    assert url.for_libpq() == for_libpq
    assert PostgresUrl.parse(for_libpq).for_libpq() == for_libpq


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("host=h dbname=d", "is no database URL"),
        ("postgresql://h/d?host=a&host=b", "gives 'host' twice"),
        ("postgresql://a:1,b:2,c:3:secret/d", "library can read|ports"),
        ("postgresql://a,b,c/d?port=1,2", "ports"),
        ("postgresql://h:99999/d", "ports"),
        ("postgresql://u:secret@h/d?no_such_parameter=1", "library can read"),
    ],
)
def test_a_url_that_nobody_can_read_is_refused_without_its_password(url: str, problem: str):
    with pytest.raises(ConfigError, match=f"FC_POSTGRES_URL .*{problem}") as caught:
        Settings.load({"FC_POSTGRES_URL": url, "FC_DATA_DIR": "/d"}, dotenv=None)
    assert "secret" not in str(caught.value)


@dataclass(frozen=True)
class Odd:
    """A database, its owner and the server's port on this machine; names and password have every odd character."""

    name: str
    role: str
    password: str
    port: int

    @property
    def url(self) -> str:
        """Two hosts, of which the first does not answer, and options with spaces."""
        userinfo = f"{quote(self.role, safe='')}:{quote(self.password, safe='')}"
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{self.port}"
        query = f"target_session_attrs=read-write&options={quote('-c work_mem=5MB -c jit=off')}"
        return f"postgresql://{userinfo}@{hosts}/{quote(self.name, safe='')}?{query}"


@pytest.fixture
def odd(postgres: EmbeddedPostgres) -> Iterator[Odd]:
    made = Odd("my, dätä 100%+?/#", 'o\'wn "er" ü@:/', "pä ss+%41&=?#/@:\\'\"", 0)
    (folder,) = parse_qs(urlsplit(postgres.url()).query)["host"]
    with (
        closing(psycopg2.connect(postgres.url())) as admin,
        Link(f"{folder}/.s.PGSQL.5432") as link,
        admin.cursor() as cursor,
    ):
        admin.autocommit = True
        names = {"role": made.role.replace('"', '""'), "name": made.name}
        cursor.execute('CREATE ROLE "{role}" LOGIN PASSWORD %s'.format(**names), (made.password,))
        for name in (made.name, f"dagster of {made.name}"):
            cursor.execute('CREATE DATABASE "{}" OWNER "{role}"'.format(name, **names))
        yield Odd(made.name, made.role, made.password, link.port)
        for name in (made.name, f"dagster of {made.name}"):
            cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        cursor.execute('DROP ROLE "{role}"'.format(**names))


QUESTION = "SELECT current_database(), current_user, current_setting('work_mem'), current_setting('jit')"


def test_adbc_psycopg2_sqlalchemy_and_dagster_open_it(odd: Odd):
    settings = Settings.load({"FC_POSTGRES_URL": odd.url, "FC_DATA_DIR": "/d"}, dotenv=None)
    expected = (odd.name, odd.role, "5MB", "off")

    connection = WriterConnection.open(settings.libpq_url())
    cursor = connection.cursor()
    cursor.execute(QUESTION)
    assert cursor.fetchall() == [expected]
    connection.close()

    with closing(psycopg2.connect(settings.libpq_url())) as opened, opened.cursor() as asked:
        asked.execute(QUESTION)
        assert asked.fetchall() == [expected]

    engine = sa.create_engine(settings.sqlalchemy_url())
    with engine.connect() as opened:
        assert [tuple(row) for row in opened.execute(sa.text(QUESTION))] == [expected]
    engine.dispose()

    dagsters = f"dagster of {odd.name}"
    first = create_pg_engine(settings.sqlalchemy_url(dagsters))
    # As its storages do when they keep connections.
    options = {"options": first.url.query["options"]}
    engine = create_pg_engine(settings.sqlalchemy_url(dagsters), connect_args=options)
    with engine.connect() as opened:
        assert [tuple(row) for row in opened.execute(sa.text(QUESTION))] == [(dagsters, *expected[1:])]
    engine.dispose()


@pytest.mark.slow
def test_psql_opens_what_fc_pipeline_url_prints(odd: Odd, tmp_path: Path):
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed")
    environment = {**os.environ, "FC_POSTGRES_URL": odd.url, "FC_DATA_DIR": str(tmp_path), "PGCLIENTENCODING": "UTF8"}
    command = [sys.executable, "-m", "fc_pipeline.cli", "url"]
    printed = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip()
    answer = subprocess.run(
        [psql, printed, "-XAtc", QUESTION], capture_output=True, text=True, check=True, env=environment
    )
    assert answer.stdout.strip() == "|".join((odd.name, odd.role, "5MB", "off"))
