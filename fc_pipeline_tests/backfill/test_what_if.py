"""What a root would bring, where a hub's answer is not all that it should be."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fc_pipeline.backfill.what_if import targets_of, what_if_added
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.bad_answers import Answer
from fc_pipeline_tests.support.fault_proxy import FaultProxy, Request
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.target_network import network_of_nine
from fc_pipeline_tests.support.workbench import workbench

MALFORMED = [
    b'{"data":{"timestamp":1}}',
    b'{"data":{"timestamp":1,"linkBody":{"targetFid":"3"}}}',
    b'{"data":{"timestamp":null,"linkBody":{"targetFid":3}}}',
    b'{"data":null}',
    b"[]",
    b"7",
]


@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_malformed_link_is_counted_and_the_others_are_read(malformed: bytes):
    good = [b'{"data":{"timestamp":%d,"linkBody":{"targetFid":%d}}}' % link for link in ((9, 3), (5, 4))]
    assert targets_of([good[0], malformed, good[1]]) == ([4, 3], 1)


def test_an_estimate_with_a_malformed_link(database: Database, tmp_path: Path):
    def spoil(request: Request, answer: Answer) -> Answer:
        if request.path != "/v1/linksByFid":
            return answer
        page = json.loads(answer.body)
        page["messages"][0]["data"]["linkBody"] = None
        return replace(answer, body=json.dumps(page).encode())

    with (
        serving(network_of_nine()) as hub,
        FaultProxy(hub, change=spoil) as proxy,
        workbench(database, tmp_path / "lake", proxy.url) as bench,
    ):
        found = what_if_added(bench.replica, [5], follows=True, most_followed=None)
    assert (found.users, found.unreadable_links) == (2, 1)  # 5 itself, and one of the two that it follows
