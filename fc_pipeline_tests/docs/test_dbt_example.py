"""examples/dbt without dbt: each model is made as a view over the sample, in order of its references, and finds rows.

dbt is no dependency, so `source` and `ref`, all of Jinja that the models use, are put in their place here. What
models.yml says of the columns, and its tests of them, must hold.
"""

import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from statistics import median
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.docs.pages import ROOT
from fc_pipeline_tests.support.pipeline import sample_hub
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

PROJECT = ROOT / "examples" / "dbt"
MODELS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(PROJECT.glob("models/**/*.sql"))}
MARTS = sorted(path.stem for path in PROJECT.glob("models/marts/*.sql"))
SCHEMA = "marts"
SOURCE = re.compile(r"\{\{ source\('(\w+)', '(\w+)'\) \}\}")
REF = re.compile(r"\{\{ ref\('(\w+)'\) \}\}")


def declared(file: str) -> dict[str, Any]:
    return yaml.safe_load((PROJECT / file).read_text(encoding="utf-8"))


def columns(model: str) -> list[dict[str, Any]]:
    (found,) = [one for one in declared("models/models.yml")["models"] if one["name"] == model]
    return found["columns"]


def source_schemas() -> dict[tuple[str, str], str]:
    """The schema of each table that may be read, by the names of source and table."""
    return {
        (source["name"], table["name"]): source["schema"]
        for source in declared("models/sources.yml")["sources"]
        for table in source["tables"]
    }


def rendered(model: str) -> str:
    """The model's SQL. Raises KeyError for a source that is not declared."""
    schemas = source_schemas()
    query = SOURCE.sub(lambda match: f"{schemas[match[1], match[2]]}.{match[2]}", MODELS[model])
    query = REF.sub(lambda match: f"{SCHEMA}.{match[1]}", query)
    assert not re.search(r"\{[{%#]", query), f"{model} uses more of Jinja than source and ref"
    return query


@pytest.fixture(scope="module")
def made(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """The sample's replica with all models as views."""
    lake = tmp_path_factory.mktemp("dbt") / "lake"
    with sample_hub() as url, fresh_database(postgres) as database, workbench(database, lake, url) as bench:
        bench.run()
        with bench.replica.engine.begin() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
            for model in TopologicalSorter({name: REF.findall(sql) for name, sql in MODELS.items()}).static_order():
                connection.exec_driver_sql(f"CREATE VIEW {SCHEMA}.{model} AS {rendered(model)}".replace("%", "%%"))
        yield bench


def test_there_are_six_marts_and_the_readme_has_each() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE) == [
        "daily_casts_per_channel",
        "active_users_per_day",
        "follower_growth_per_user",
        "top_casts_per_day",
        "reply_latency_per_thread",
        "app_usage",
    ]
    assert sorted(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)) == MARTS


def test_every_declared_source_is_read() -> None:
    assert {match for sql in MODELS.values() for match in SOURCE.findall(sql)} == set(source_schemas())


def test_the_profile_and_the_folders_are_those_of_the_project() -> None:
    project, profiles = declared("dbt_project.yml"), declared("profiles.yml")
    assert profiles[project["profile"]]["outputs"]["replica"]["schema"] == SCHEMA
    folders = {path.parent.name for path in PROJECT.glob("models/**/*.sql")}
    assert set(project["models"][project["name"]]) == folders


@pytest.mark.parametrize("model", MODELS)
def test_a_model_finds_rows_and_has_the_columns_that_are_described(made: Workbench, model: str) -> None:
    assert made.rows(f"SELECT count(*) AS n FROM {SCHEMA}.{model}")[0].n > 0
    found = [column["name"] for column in sa.inspect(made.replica.engine).get_columns(model, schema=SCHEMA)]
    assert found == [column["name"] for column in columns(model)]


@pytest.mark.parametrize("model", MODELS)
def test_what_the_project_tests_of_a_models_columns_holds(made: Workbench, model: str) -> None:
    tested = [(column["name"], test) for column in columns(model) for test in column.get("data_tests", [])]
    assert tested
    broken = {
        "not_null": "SELECT {column} FROM {model} WHERE {column} IS NULL",
        "unique": "SELECT {column} FROM {model} GROUP BY 1 HAVING count(*) > 1",
    }
    for column, test in tested:
        assert made.rows(broken[test].format(column=column, model=f"{SCHEMA}.{model}")) == [], (column, test)


def test_marts_agree_with_what_the_replica_counts_itself(made: Workbench) -> None:
    (done,) = made.rows("SELECT sum(casts), sum(likes) FROM fid_activity")
    assert made.rows(f"SELECT sum(casts), sum(likes) FROM {SCHEMA}.active_users_per_day") == [done]
    (below,) = made.rows("SELECT count(*) FROM cast_threads WHERE root_url IS NOT NULL")
    assert made.rows(f"SELECT sum(casts) FROM {SCHEMA}.daily_casts_per_channel") == [below]
    last = f"SELECT DISTINCT ON (fid) fid, followers FROM {SCHEMA}.follower_growth_per_user ORDER BY fid, day DESC"
    counted = "SELECT fid, followers FROM user_counts WHERE followers > 0 ORDER BY fid"
    assert made.rows(f"SELECT * FROM ({last}) AS m WHERE followers > 0 ORDER BY fid") == made.rows(counted)


def test_a_threads_latency_is_that_of_its_conversation(made: Workbench) -> None:
    most = f"SELECT * FROM {SCHEMA}.reply_latency_per_thread ORDER BY depth DESC, replies DESC LIMIT 1"
    (thread,) = made.rows(most)
    root, *replies = made.rows("SELECT * FROM api.conversation(:hash, page_size => 100)", hash=thread.root_hash)
    times = {cast.hash: cast.network_time for cast in (root, *replies)}
    latencies = [cast.network_time - times[cast.parent_hash] for cast in replies]
    assert (thread.replies, thread.depth) == (len(replies), max(cast.depth for cast in replies))
    assert thread.depth > 1
    assert thread.first_reply_after == min(cast.network_time for cast in replies) - root.network_time
    assert thread.median_reply_after == median(latencies)
