"""The sample hub as a service: it goes on where it was, and is not mistaken for another hub on its port."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fc_pipeline.errors import ServiceError
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.services import sample_hub
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
