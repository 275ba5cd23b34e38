"""What Dagster's own database says of runs, ticks, daemons and checks, as metrics.

Its tables are read with SQL: a process that serves metrics need not load Dagster, which takes seconds and 200 MB. The
release of Dagster is pinned, and a test reads what a real instance wrote.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from fc_pipeline.config.settings import Settings
from fc_pipeline.metrics import families as f
from fc_pipeline.metrics.families import Family, Sample
from fc_pipeline.orchestration.instance.instances import DAGSTER_DATABASE
from fc_pipeline.store.session import connect

__all__ = ["read_dagster"]

_TICKS: Final = (
    "SELECT t.tick_body::json->>'job_name', {value} FROM (SELECT DISTINCT selector_id FROM job_ticks) AS i "
    "CROSS JOIN LATERAL (SELECT * FROM job_ticks AS t WHERE t.selector_id = i.selector_id "
    "ORDER BY t.timestamp DESC, t.id DESC LIMIT 1) AS t"
)
_QUERIES: Final[tuple[tuple[Family, str], ...]] = (
    (f.DAGSTER_RUNS, "SELECT lower(status), count(*) FROM runs GROUP BY 1"),
    (f.TICK_AGE, _TICKS.format(value="extract(epoch FROM (now() AT TIME ZONE 'UTC') - t.timestamp)")),
    (f.TICK_FAILED, _TICKS.format(value="(t.status = 'FAILURE')::integer")),
    (
        f.DAEMON_AGE,
        "SELECT lower(daemon_type), extract(epoch FROM (now() AT TIME ZONE 'UTC') - timestamp) FROM daemon_heartbeats",
    ),
    (
        f.CHECK_FAILED,
        "SELECT array_to_string(ARRAY(SELECT json_array_elements_text(asset_key::json)), '/'), check_name, "
        "(execution_status = 'FAILED')::integer FROM (SELECT DISTINCT ON (asset_key, check_name) * "
        "FROM asset_check_executions WHERE execution_status <> 'PLANNED' ORDER BY asset_key, check_name, id DESC) AS c",
    ),
)
"""Each gives the values of a metric's labels, and its value."""


def read_dagster(settings: Settings) -> list[Sample]:
    """All of it. Raises PostgresError where the database cannot be asked."""
    with closing(connect(settings.libpq_url(DAGSTER_DATABASE))) as connection, connection.cursor() as cursor:
        return [sample for family, query in _QUERIES for sample in _samples(cursor, family, query)]


def _samples(cursor: Any, family: Family, query: str) -> Iterator[Sample]:
    cursor.execute(query)
    for *labels, value in cursor.fetchall():
        if None not in labels:
            yield family.of(value, *labels)
