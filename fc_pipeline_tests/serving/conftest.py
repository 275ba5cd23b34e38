"""Networks of which the room's tests ask: the generated log and the recorded node's feed, folded once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.serving.plain_model import PlainModel
from fc_pipeline_tests.support.any_order import Log, generated_log
from fc_pipeline_tests.support.events import micro_batch
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.recorded_node import recorded_feed

EVENTS = 4_000
SHARDS = (1, 2)


def _folded(postgres: EmbeddedPostgres, log: Log) -> Iterator[PlainModel]:
    with fresh_database(postgres) as database:
        with FoldSession(database.url, "network") as session:
            for shard, blocks in log.items():
                session.fold(micro_batch(blocks, shard=shard, shard_count=len(SHARDS)))
        with database.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
        yield PlainModel(FoldedDatabase(database.url, database.engine))


@pytest.fixture(scope="session")
def generated(postgres: EmbeddedPostgres) -> Iterator[PlainModel]:
    """The generated log, with threads, quotes, mentions and blocks."""
    yield from _folded(postgres, generated_log(seed=7, events=EVENTS))


@pytest.fixture(scope="session")
def recorded(postgres: EmbeddedPostgres, shared_fixtures: Path) -> Iterator[PlainModel]:
    """The recorded node's feed, where there is one beside the project."""
    yield from _folded(postgres, {shard: recorded_feed(shared_fixtures, shard) for shard in SHARDS})


@pytest.fixture(params=["generated", "recorded"])
def network(request: pytest.FixtureRequest) -> PlainModel:
    """Each of both."""
    made: PlainModel = request.getfixturevalue(request.param)
    return made
