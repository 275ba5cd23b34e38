"""Database and lake belong together: one id, agreed on at the first start; another lake, or none, is refused."""

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.errors import ConfigError, LakeError
from fc_pipeline.lake import same_lake
from fc_pipeline.lake.identity import ID_FILE, read_id
from fc_pipeline.lake.same_lake import adopt_lake, agree_on_lake
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.s3_server import S3Server, s3_server
from fc_pipeline_tests.support.workbench import Workbench, workbench

REMEDY = r"mount or restore it there; .*`fc-pipeline lake adopt`"


def id_in(lake: Path) -> str:
    return json.loads((lake / ID_FILE).read_text())["lake_id"]


def id_of(bench: Workbench) -> str:
    return bench.rows("SELECT lake_id FROM pipeline.lake")[0].lake_id


@pytest.fixture
def filled(database: Database, lake: Path, lines: list[bytes]) -> None:
    """Database and lake after a run."""
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run()


def test_both_have_one_id_from_the_first_start_on(database: Database, lake: Path) -> None:
    with workbench(database, lake) as bench:
        first = id_of(bench)
        assert first == id_in(lake)
    with workbench(database, lake) as bench:
        assert id_of(bench) == first == id_in(lake)


@contextmanager
def as_before_there_were_ids(database: Database, lake: Path) -> Iterator[None]:
    """A database and a lake of an older release."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM pipeline.lake"))
    (lake / ID_FILE).unlink(missing_ok=True)
    yield


def test_a_database_and_a_lake_from_before_adopt_one(filled: None, database: Database, lake: Path) -> None:
    with as_before_there_were_ids(database, lake), workbench(database, lake) as bench:
        assert id_of(bench) == id_in(lake)


def test_an_empty_place_beside_a_filled_database_from_before_is_refused(
    filled: None, database: Database, lake: Path, tmp_path: Path
) -> None:
    expected = rf"FC_LAKE_URI names .*elsewhere, where there is nothing, but the database was filled.*{REMEDY}"
    with (
        as_before_there_were_ids(database, lake),
        pytest.raises(ConfigError, match=expected),
        workbench(database, tmp_path / "elsewhere"),
    ):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_empty_place_is_refused(filled: None, database: Database, lake: Path, tmp_path: Path) -> None:
    expected = rf"FC_LAKE_URI names .*elsewhere: there is no lake, but the database's lake {id_in(lake)} .*{REMEDY}"
    with pytest.raises(ConfigError, match=expected), workbench(database, tmp_path / "elsewhere"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_another_lake_is_refused(
    filled: None, database: Database, lake: Path, tmp_path: Path, postgres: EmbeddedPostgres
) -> None:
    with fresh_database(postgres) as other, workbench(other, tmp_path / "other"):
        pass
    theirs = id_in(tmp_path / "other")
    expected = rf"FC_LAKE_URI names .*other: there is lake {theirs}, which is not the database's lake {id_in(lake)}"
    with pytest.raises(ConfigError, match=f"{expected}.*{REMEDY}"), workbench(database, tmp_path / "other"):
        pass


def test_a_lake_that_was_moved_or_is_spelled_otherwise_is_the_same(
    filled: None, database: Database, lake: Path, tmp_path: Path
) -> None:
    before = id_in(lake)
    (tmp_path / "link").symlink_to(lake)
    for spelling in (tmp_path / "link", lake / ".." / lake.name):
        with workbench(database, spelling) as bench:
            assert id_of(bench) == before
    shutil.move(lake, tmp_path / "my lake, of ü")
    with workbench(database, tmp_path / "my lake, of ü") as bench:
        assert id_of(bench) == before
        assert bench.replica.log.hours()


def test_a_new_database_takes_the_lake_that_it_is_to_be_made_from(
    filled: None, lake: Path, postgres: EmbeddedPostgres
) -> None:
    with fresh_database(postgres) as lost, workbench(lost, lake) as bench:
        assert id_of(bench) == id_in(lake)


def test_another_lake_is_adopted_on_purpose(filled: None, database: Database, lake: Path, tmp_path: Path) -> None:
    """A copy of the events without the id, as by a backup of them alone; and an empty place."""
    shutil.copytree(lake / "hub_events", tmp_path / "copy" / "hub_events")
    for place in (tmp_path / "copy", tmp_path / "empty"):
        storage = LakeStorage.open(str(place))
        with pytest.raises(ConfigError):
            agree_on_lake(database.engine, storage, str(place))
        adopted = adopt_lake(database.engine, storage, str(place))
        assert adopted == id_in(place) != id_in(lake)
        with workbench(database, place) as bench:
            assert id_of(bench) == adopted
    with pytest.raises(ConfigError, match=id_in(lake)), workbench(database, lake):
        pass
    adopt_lake(database.engine, LakeStorage.open(str(lake)), str(lake))
    with workbench(database, lake) as bench:
        assert bench.replica.log.hours()


def test_an_id_that_cannot_be_read_is_named(filled: None, database: Database, lake: Path) -> None:
    for content in ("", "not JSON", "[]", '{"lake_id": 7}'):
        (lake / ID_FILE).write_text(content)
        with (
            pytest.raises(LakeError, match=rf"{ID_FILE} in the lake says no lake_id.*adopt"),
            workbench(database, lake),
        ):
            pass


def test_many_that_start_at_once_agree(database: Database, lake: Path, tmp_path: Path) -> None:
    """Of one database; and of many databases with one new lake."""
    uri = str(lake)
    engines = [sa.create_engine(database.sqlalchemy_url) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda engine: agree_on_lake(engine, LakeStorage.open(uri), uri), engines))
    for engine in engines:
        engine.dispose()
    with database.engine.connect() as connection:
        assert connection.scalars(sa.text("SELECT lake_id FROM pipeline.lake")).all() == [id_in(lake)]
    storages = [LakeStorage.open(str(tmp_path / "shared")) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda i: same_lake.identity.make_id(storages[i], f"id {i}"), range(8)))
    assert set(made) == {id_in(tmp_path / "shared")}


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


def test_a_lake_in_s3_has_an_id_and_is_asked_for_it_once_by_a_process(database: Database, s3: S3Server) -> None:
    uri = s3.uri("a läke/of mine")
    storage = LakeStorage.open(uri)
    agree_on_lake(database.engine, storage, uri)
    assert s3.stored() == [f"a läke/of mine/{ID_FILE}"]
    made = read_id(storage)
    s3.count()
    for _ in range(5):  # as sensors do
        agree_on_lake(database.engine, LakeStorage.open(uri), uri)
    assert s3.count() == {}
    with database.engine.connect() as connection:
        line = connection.execute(sa.text("SELECT lake_id, place FROM pipeline.lake")).one()
    assert line.lake_id == made
    assert "secret" not in line.place
    assert [same_lake.identity.make_id(storage, f"id {n}") for n in range(3)] == [made] * 3
    elsewhere = s3.uri("elsewhere")
    with pytest.raises(ConfigError, match=f"there is no lake, but the database's lake {made}") as refused:
        agree_on_lake(database.engine, LakeStorage.open(elsewhere), elsewhere)
    assert not re.search("secret", str(refused.value))
