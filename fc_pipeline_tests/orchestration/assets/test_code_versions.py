"""Code versions: they change with a table's rule, and with nothing else."""

from dagster import AssetKey, AssetMaterialization, AssetSpec, Definitions
from dagster._core.definitions.data_version import DATA_VERSION_TAG, CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from fc_pipeline.orchestration.assets.code_versions import digest_of
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, defs

HOUR = SAMPLE_HOURS[0]
BUCKET = "003"

RULE = '''"""A table."""

ROWS = "SELECT fid FROM links"
"""Its rule."""


def rows(of: int) -> int:
    """Its rows."""
    return of + 1
'''


def test_it_changes_with_the_rule_and_the_columns():
    before = digest_of(RULE, "columns")
    assert digest_of(RULE.replace("of + 1", "of + 2"), "columns") != before
    assert digest_of(RULE.replace("FROM links", "FROM casts"), "columns") != before
    assert digest_of(RULE, "more columns") != before


def test_words_about_it_and_its_layout_change_nothing():
    before = digest_of(RULE)
    assert digest_of(RULE.replace("Its", "The table's").replace("A table", "A good table")) == before
    assert digest_of(f"# Why.\n{RULE}".replace("of + 1", "(of + 1)")) == before


def test_every_table_has_one_of_its_own():
    graph = defs.resolve_asset_graph()
    versions = {name: graph.get(AssetKey(name)).code_version for name in ALL_TABLES}
    assert all(versions.values())
    assert len(set(versions.values())) == len(versions)


def test_every_asset_has_an_owner():
    assert [node.key.to_user_string() for node in defs.resolve_asset_graph().asset_nodes if not node.owners] == []


def test_an_hour_and_a_bucket_are_unsynced_once_the_rule_is_another(pipeline: Pipeline):
    pipeline.materialize(hour=HOUR)
    keys = [AssetKey(name) for name in ("fid_snapshots", "reconciled_fids", "gasless_keys")]
    job = defs.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=pipeline.instance, asset_selection=keys, partition_key=BUCKET).success
    of_table = {"casts": HOUR.key, "cast_threads": HOUR.key, "gasless_keys": BUCKET}
    assert {name: causes(pipeline, defs, name, at) for name, at in of_table.items()} == {name: [] for name in of_table}

    def changed(spec: AssetSpec) -> AssetSpec:
        return spec.replace_attributes(code_version="another") if spec.key.to_user_string() in of_table else spec

    later = defs.map_asset_specs(func=changed)
    own = {name: causes(pipeline, later, name, at) for name, at in of_table.items()}
    assert own == {name: ["has a new code version"] for name in of_table}


def test_an_hour_is_unsynced_where_its_source_went_on_alone(pipeline: Pipeline):
    pipeline.materialize(hour=HOUR)
    pipeline.instance.report_runless_asset_event(
        AssetMaterialization("hub_events", partition=HOUR.key, tags={DATA_VERSION_TAG: "more"})
    )
    assert causes(pipeline, defs, "casts", HOUR.key) == ["has a new dependency materialization"]


def causes(pipeline: Pipeline, definitions: Definitions, asset: str, partition: str) -> list[str]:
    """Why the UI calls a partition unsynced."""
    loading = LoadingContextForTest(pipeline.instance)
    resolver = CachingStaleStatusResolver(pipeline.instance, definitions.resolve_asset_graph(), loading)
    return [cause.reason for cause in resolver.get_stale_causes(AssetKey(asset), partition)]
