"""What Dagster's own database says of runs, ticks, daemons and checks, as metrics.

Its tables are read with SQL: a process that serves metrics need not load Dagster, which takes seconds and 200 MB. The
release of Dagster is pinned, and a test reads what a real instance wrote.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fc_pipeline.config.settings import Settings
from fc_pipeline.metrics import families as f
from fc_pipeline.metrics.families import Family, Sample
from fc_pipeline.orchestration.instance.instances import DAGSTER_DATABASE
from fc_pipeline.store.session import connect

__all__ = ["DagsterReadings"]

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
)
"""Each gives the values of a metric's labels, and its value."""

_CHECKS: Final = (
    "SELECT array_to_string(ARRAY(SELECT json_array_elements_text(asset_key::json)), '/'), check_name, id, "
    "(execution_status = 'FAILED')::integer FROM (SELECT DISTINCT ON (asset_key, check_name) * "
    "FROM asset_check_executions WHERE execution_status <> 'PLANNED' AND id > %(settled)s "
    "ORDER BY asset_key, check_name, id DESC) AS c"
)
_SETTLED: Final = (
    "SELECT coalesce(min(id) FILTER (WHERE execution_status = 'PLANNED' "
    "AND create_timestamp > (now() AT TIME ZONE 'UTC') - interval '1 day') - 1, max(id), %(settled)s) - 1000 "
    "FROM asset_check_executions WHERE id > %(settled)s"
)
"""Up to which line no check is under way any more: its line is changed when it ends. One of a day ago has died.

A thousand lines are read again all the same: lines become visible in another order than they are numbered in.
"""
_READ_ANEW_SECONDS: Final = 3600.0


class _Result(NamedTuple):
    """A check's last result: the number of its line, and whether it is red or yellow."""

    line: int
    failed: int


@dataclass
class DagsterReadings:
    """Reads Dagster's database again and again; `settings` gives them as they are now.

    Of the lines of checks, of which there is one per check and hour for ever, only new ones are read again.
    """

    settings: Callable[[], Settings]
    clock: Callable[[], float] = time.monotonic
    _checks: dict[tuple[str, str], _Result] = field(default_factory=dict[tuple[str, str], _Result], init=False)
    _settled: int = field(default=0, init=False)
    _read_anew_at: float = field(default=float("-inf"), init=False)

    def read(self) -> list[Sample]:
        """All of it. Raises PostgresError where the database cannot be asked."""
        try:
            with (
                closing(connect(self.settings().libpq_url(DAGSTER_DATABASE))) as connection,
                connection.cursor() as cursor,
            ):
                samples = [sample for family, query in _QUERIES for sample in _samples(cursor, family, query)]
                return [*samples, *self._of_checks(cursor)]
        except BaseException:
            self._read_anew_at = float("-inf")
            raise

    def _of_checks(self, cursor: Any) -> Iterator[Sample]:
        now = self.clock()
        if now - self._read_anew_at > _READ_ANEW_SECONDS:
            self._checks, self._settled, self._read_anew_at = {}, 0, now
        # First, so that what ends in between is read by the next round.
        cursor.execute(_SETTLED, {"settled": self._settled})
        [(settled,)] = cursor.fetchall()
        cursor.execute(_CHECKS, {"settled": self._settled})
        for asset, check, line, failed in cursor.fetchall():
            self._checks[asset, check] = max(self._checks.get((asset, check), _Result(0, 0)), _Result(line, failed))
        self._settled = settled
        for names, result in self._checks.items():
            yield f.CHECK_FAILED.of(result.failed, *names)


def _samples(cursor: Any, family: Family, query: str) -> Iterator[Sample]:
    cursor.execute(query)
    for *labels, value in cursor.fetchall():
        if None not in labels:
            yield family.of(value, *labels)
