"""What a derivation within a fold reads: the rows of its scopes, whatever else the tables hold."""

import pytest
from sqlalchemy import text

from fc_pipeline.fold.merging import KEYED_PLANS
from fc_pipeline.store import attribution, derived
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.registry import DERIVED_TABLES
from fc_pipeline_tests.support.postgres import Database


@pytest.mark.parametrize("one", DERIVED_TABLES, ids=lambda one: one.name)
def test_each_row_is_looked_up_by_itself(database: Database, one: DerivedTable) -> None:
    """No plan keeps a source, read through, to compare each row with."""
    with database.engine.begin() as connection:
        connection.execute(text(KEYED_PLANS))
        connection.exec_driver_sql(derived.create_scope(one))
        for statement in (derived.derive(one), *attribution.after(one)):
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}"))
            assert "Insert on" in plan or "Update on" in plan
            assert "Materialize" not in plan, plan
            for line in plan.splitlines():
                assert "Seq Scan" not in line or derived.scope_name(one) in line, plan
