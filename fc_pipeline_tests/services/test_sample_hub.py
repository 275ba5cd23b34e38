"""The sample hub as a service: it goes on where it was, and is not mistaken for another hub on its port."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.proof.headers import SignedHeader, consensus_of
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.services import sample_hub
from fc_pipeline.services.opening import with_urls
from fc_pipeline.services.sample_hub import SampleHubServer


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    path = tmp_path / "events.ndjson"
    lines = generate(7, fids=20, events=200, start_unix=1_760_000_000, events_per_second=5.0)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@pytest.fixture
def hub(tmp_path: Path, log_path: Path) -> Iterator[SampleHubServer]:
    hub = SampleHubServer(tmp_path / "data", log_path, live_rate=200.0)
    yield hub
    if hub.running_pid() is not None:
        hub.acquire()
        assert hub.release()


def heights(url: str) -> dict[int, int]:
    return {shard["shardId"]: shard["maxHeight"] for shard in httpx.get(f"{url}/v1/info").json()["shardInfos"]}


@pytest.mark.slow
def test_it_never_goes_back_over_a_restart(hub: SampleHubServer):
    before = heights(hub.acquire())
    assert hub.release()
    assert hub.running_pid() is None
    after = heights(hub.acquire())
    assert before.keys() == after.keys()
    assert all(after[shard] >= before[shard] for shard in before)


def test_a_taken_port_means_another_one(hub: SampleHubServer, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(sample_hub, "PREFERRED_PORT", taken.getsockname()[1])
        other = SampleHubServer(hub.data_dir, hub.log_path, hub.live_rate)
        url = other.acquire()
        assert url != f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert heights(url)
        assert other.release()


def test_a_missing_log_is_told_with_the_remedy(tmp_path: Path):
    hub = SampleHubServer(tmp_path / "data", tmp_path / "nothing.ndjson.gz")
    with pytest.raises(ServiceError, match="is missing") as caught:
        hub.acquire()
    assert "FC_HUB_URLS" in (caught.value.hint or "")


@pytest.mark.slow
def test_a_log_that_cannot_be_read_shows_why(hub: SampleHubServer):
    hub.log_path.write_text("not json\n")
    with pytest.raises(ServiceError, match=r"events\.ndjson"):
        hub.acquire()


def test_settings_without_a_hub_name_its_grpc_and_its_validator(hub: SampleHubServer):
    hub.acquire()
    opened = with_urls(Settings.load({"FC_DATA_DIR": str(hub.data_dir)}, dotenv=None), [hub])
    assert opened.hub_urls == (hub.url(),)
    assert opened.hub_grpc == (hub.grpc_url(),)

    async def newest_block() -> SignedHeader | None:
        async with GrpcNode(HubEndpoint(opened.hub_grpc[0])) as node:
            height = next(shard.maxHeight for shard in (await node.info()).shardInfos if shard.shardId == 1)
            return await node.block(1, height)

    block = asyncio.run(newest_block())
    assert block is not None
    assert consensus_of(block, opened.validators.at(1, block.header.height)).is_proved
    assert hub.release()


def test_two_hubs_speak_grpc_on_ports_of_their_own(hub: SampleHubServer, tmp_path: Path):
    hub.acquire()
    other = SampleHubServer(tmp_path / "other", hub.log_path, hub.live_rate)
    other.acquire()
    assert hub.grpc_url() != other.grpc_url()
    assert other.release()
    assert hub.release()
