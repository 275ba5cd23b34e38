import os
import subprocess
import sys

import psycopg2
import pytest
import redis

from fc_pipeline.config.settings import Settings
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis


def _url(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fc_pipeline.cli", "url", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def environment(postgres: EmbeddedPostgres) -> dict[str, str]:
    return {**os.environ, "FC_DATA_DIR": str(postgres.data_dir), "FC_POSTGRES_URL": ""}


def test_the_printed_url_opens_the_database(environment: dict[str, str]) -> None:
    printed = _url(environment)
    assert printed.returncode == 0, printed.stderr
    connection = psycopg2.connect(printed.stdout.strip())
    connection.close()


def test_redis_is_shared_by_the_url_that_is_printed(embedded_redis: EmbeddedRedis) -> None:
    printed = _url({**os.environ, "FC_DATA_DIR": str(embedded_redis.data_dir), "FC_REDIS_URL": ""}, "--redis")
    assert printed.returncode == 0, printed.stderr
    settings = Settings.load({"FC_DATA_DIR": "elsewhere", "FC_REDIS_URL": printed.stdout.strip()}, dotenv=None)
    with redis.Redis.from_url(str(settings.redis_url)) as client:
        assert client.ping()
    configured = _url({**os.environ, "FC_REDIS_URL": "redis://theirs:6379/1"}, "--redis")
    assert configured.stdout == "redis://theirs:6379/1\n"


def test_without_a_running_server_it_says_how_to_start_one(environment: dict[str, str], tmp_path: object) -> None:
    printed = _url({**environment, "FC_DATA_DIR": str(tmp_path)})
    assert printed.returncode == 1
    assert "does not run" in printed.stderr
    assert "make up" in printed.stderr
