"""Which hubs answer: dead, hanging and healthy ones side by side."""

import asyncio
import socket

from fc_pipeline.config.project import project_file
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.sample_hub.log import load_log
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.ports import free_port
from fc_pipeline.status.hub_reach import unreachable_hubs


def test_dead_and_hanging_hubs_are_named_with_the_reason() -> None:
    with serving(load_log(project_file("data/sample/events.ndjson.gz"))) as healthy, socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        hangs = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        dead = f"http://127.0.0.1:{free_port(0)}"
        found = asyncio.run(unreachable_hubs([HubEndpoint(url) for url in (healthy, hangs, dead)], 1.0))
    assert found.keys() == {hangs, dead}
    assert "no answer within 1 s" in found[hangs]
