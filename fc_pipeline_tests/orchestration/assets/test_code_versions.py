"""Code versions: they change with a table's rule, and with nothing else."""

from dagster import AssetKey

from fc_pipeline.orchestration.assets.code_versions import digest_of
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline_tests.support.pipeline import defs

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
