"""Every table against any node's own answers by user: `FC_TEST_HUB=http://127.0.0.1:3381 make test-live`.

Of a small node, such as one for development, everything is synced and all users are compared; of a larger one the
snapshots of FC_TEST_FIDS users (200 unless said). FC_TEST_HUB_HEADERS are its headers, as FC_HUB_HEADERS has them.
"""

import os
import random
from collections.abc import Iterator

import httpx
import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.config.settings import Settings
from fc_pipeline_tests.support.node_comparison import NodeAnswers, differences
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

URL = os.environ.get("FC_TEST_HUB", "")
MAX_FIDS = int(os.environ.get("FC_TEST_FIDS", "200"))
TIMES_ASKED = 3
"""Users who do something between our reading and the node's answer are read and asked again."""

pytestmark = pytest.mark.skipif(not URL, reason="FC_TEST_HUB names no node")


@pytest.fixture
def settings() -> Settings:
    named = {"FC_HUB_URLS": URL, "FC_HUB_HEADERS": os.environ.get("FC_TEST_HUB_HEADERS", "")}
    return Settings.load({name: value for name, value in named.items() if value}, dotenv=None)


@pytest.fixture
def node(settings: Settings) -> Iterator[NodeAnswers]:
    with httpx.Client(base_url=URL, headers=dict(settings.hub_headers_for(URL)), timeout=60) as http:
        yield NodeAnswers(http)


@pytest.fixture
def bench(database: Database, lake: object, settings: Settings) -> Iterator[Workbench]:
    headers = {"*": settings.hub_headers_for(URL)}
    with workbench(database, lake, URL, hub_headers=headers) as opened:  # type: ignore[arg-type]
        yield opened


def test_the_tables_are_what_the_node_answers(bench: Workbench, node: NodeAnswers, facts: list[str]) -> None:
    shards = range(1, node.answer("info")["numShards"] + 1)
    known = {fid for shard in shards for fid in node.items("fids", "fids", shard_id=shard)}
    is_whole = len(known) <= MAX_FIDS
    compared = sorted(known) if is_whole else sorted(random.Random(1).sample(sorted(known), MAX_FIDS))
    left = compared
    found: list[str] = []
    for _ in range(TIMES_ASKED):
        if is_whole and bench.missing_hours():
            bench.run()
        Backfill(bench.replica, "backfill", BackfillScope.of_fids(set(left))).execute()
        found = differences(bench, node, left)
        left = sorted({fid for fid in left if any(f"({fid}, " in line for line in found)})
        if not found:
            break
    facts.append(
        f"{URL}: {len(compared)} of {len(known)} users compared{' with the whole feed' if is_whole else ''}; "
        f"the node lacks {', '.join(sorted(node.absent)) or 'nothing'}; differences: {len(found)}"
    )
    facts.extend(found)
    assert found == []
