"""The sample hub as a process of its own."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fc_pipeline.errors import ConfigError, ServiceError
from fc_pipeline.sample_hub.command import run_sample_hub, sample_hub

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "events.ndjson.gz"
PROGRAM = """
import sys
from pathlib import Path
from fc_pipeline.sample_hub.command import run_sample_hub
run_sample_hub(Path(sys.argv[1]), port=0, endless=True, live_rate=10, record=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_stops_cleanly(tmp_path: Path, stop: signal.Signals):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(SAMPLE), str(tmp_path / "record")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("sample hub: http://127.0.0.1:")
        info = httpx.get(line.split()[2] + "/v1/info").json()
        assert info["numShards"] == 2
    finally:
        process.send_signal(stop)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_it_stops_when_told_so_as_soon_as_it_says_where_it_listens(stop: str):
    told_at_once = f"echo=lambda line: os.kill(os.getpid(), signal.{stop})"
    program = f"""
import os, signal
from fc_pipeline.sample_hub.command import run_sample_hub
run_sample_hub(None, generate_events=20, fids=5, port=0, {told_at_once})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_taken_port_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"127\.0\.0\.1:{port}.*--port"):
            run_sample_hub(SAMPLE, port=port)


def test_arguments_that_do_not_fit_together_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="either a log or a number of events"):
        sample_hub(None)
    with pytest.raises(ConfigError, match="either a log or a number of events"):
        sample_hub(SAMPLE, generate_events=5)
    with pytest.raises(ConfigError, match="endless"):
        sample_hub(SAMPLE, record=tmp_path / "record")
    with pytest.raises(ConfigError, match="above 0"):
        sample_hub(SAMPLE, live_rate=0)


def test_a_generated_log_ends_about_now():
    hub = sample_hub(None, generate_events=3000, fids=40, seed=2)
    assert hub.log.events >= 3000
    assert all(0 <= hub.clock() - (shard.newest_unix or 0) < 60 for shard in hub.shards)
    assert hub.state.fids
