"""While the feed is followed: follows, unfollows, compact states and sign-ups, new targets completed beside it."""

import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Reveal
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.targets import coherence
from fc_pipeline_tests.support.comparing import assert_same, complete, expected_targets, targets_of
from fc_pipeline_tests.support.following import executing, present, until
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.workbench import workbench

CLIENT = 193
"""Few sign up through it."""
SECONDS = 12.0


def roots_of(lines: list[bytes]) -> tuple[int, ...]:
    """Who unfollows most, and somebody who made a compact state of the links."""
    acts: dict[str, Counter[int]] = {"LINK_REMOVE": Counter(), "LINK_COMPACT_STATE": Counter()}
    for line in lines:
        message = msgspec.json.decode(line).get("mergeMessageBody", {}).get("message")
        kind = message["data"]["type"].removeprefix("MESSAGE_TYPE_") if message else ""
        if kind in acts:
            acts[kind][message["data"]["fid"]] += 1
    return tuple(sorted({counts.most_common(1)[0][0] for counts in acts.values()}))


@pytest.mark.slow
def test_the_tables_hold_what_the_rule_selects_while_the_set_changes(
    database: Database, postgres: EmbeddedPostgres, tmp_path: Path, redis_url: str
) -> None:
    lines = list(generate(19, fids=320, events=9_000, events_per_second=60.0, start_unix=int(time.time()) - 160))
    roots = roots_of(lines)
    log = log_from_lines(lines)
    growth = Reveal(log, events_per_second=log.events / SECONDS, start_unix=time.time() - SECONDS / 3)
    options = {"root_fids": roots, "client_fids": (CLIENT,), "redis_url": redis_url}
    with (
        serving(log, growth=growth) as url,
        workbench(database, tmp_path / "lake", url, targets="set", batch_seconds=0.2, **options) as bench,
    ):
        run = bench.make_run(window=present(), follow_seconds=600.0)
        rounds: list[int] = []
        with executing(run) as failed:

            def all_read() -> bool:
                rounds.append(complete(bench, f"targets {len(rounds)}").rounds)  # as the sensor's runs do meanwhile
                ends = bench.rows("SELECT sum(events) AS n FROM pipeline.coverage")[0].n
                return bool(failed) or (ends or 0) >= log.events

            until(all_read, "the log was not read to its end")
        assert failed == []
        complete(bench, "targets at the end")
        # The set did change meanwhile.
        assert sum(rounds) > 2
        assert bench.rows("SELECT generation FROM pipeline.target_set")[0].generation > 5
        assert bench.rows("SELECT count(*) AS n FROM pipeline.former_targets")[0].n > 0
        with fresh_database(postgres) as other, workbench(other, tmp_path / "full" / "lake", url) as full:
            full.run()
            expected = expected_targets(full, roots, [CLIENT])
            reasons = Counter(row.reason for row in bench.rows("SELECT reason FROM pipeline.targets"))
            assert set(reasons) == {"root", "client", "followed"}
            assert targets_of(bench) == expected
            assert_same(bench, full, expected)
        found = coherence.compare(bench.replica.engine, redis_url)
        assert found.reachable
        assert not found.is_behind
        assert (found.missing, found.extra) == ((), ())
    assert threading.active_count() < 20
