"""A real node's recorded answers, served over HTTP by the tool beside the project, and the truth that they hold."""

import gzip
import importlib.util
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fc_pipeline.hub.wire import height_of
from fc_pipeline_tests.support.events import Blocks

__all__ = ["recorded_answers", "recorded_channel_reads", "recorded_feed", "recorded_truth", "served_node"]


def _tool(fixtures: Path) -> Path:
    return fixtures.parent / "tools" / "replay_hub.py"


@contextmanager
def served_node(fixtures: Path, port: int = 0) -> Iterator[str]:
    """The address of the recorded node, on this port if it is to be one that it had before."""
    command = [sys.executable, str(_tool(fixtures)), "serve", "--dir", str(fixtures / "snapchain"), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
        finally:
            process.terminate()


def recorded_truth(fixtures: Path) -> dict[str, Any]:
    """The live rows by table, as the node's own answers have them."""
    spec = importlib.util.spec_from_file_location("replay_hub", _tool(fixtures))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(json.dumps(module.Recording(fixtures / "snapchain").truth()))


def recorded_feed(fixtures: Path, shard: int) -> Blocks:
    """The node's whole feed of a shard, by height."""
    blocks: dict[int, list[bytes]] = defaultdict(list)
    with gzip.open(fixtures / "snapchain" / f"events_shard{shard}.ndjson.gz", "rt") as pages:
        for page in map(json.loads, pages):
            for event in json.loads(page["body"])["events"]:
                blocks[height_of(event["id"])].append(json.dumps(event, separators=(",", ":")).encode())
    return dict(blocks)


def recorded_answers(fixtures: Path, endpoint: str) -> dict[int, Any]:
    """What the node answered for each FID on an endpoint of one page."""
    found: dict[int, Any] = {}
    with gzip.open(fixtures / "snapchain" / "by_fid.ndjson.gz", "rt") as lines:
        for line in map(json.loads, lines):
            url = urlsplit(line["path"])
            if url.path == f"/v1/{endpoint}" and line["status"] == 200:
                found[int(parse_qs(url.query)["fid"][0])] = json.loads(line["body"])
    return found


def recorded_channel_reads(fixtures: Path, endpoint: str) -> list[tuple[dict[str, str], Any]]:
    """What the node answered on an endpoint of channels, each with the parameters of the request."""
    found: list[tuple[dict[str, str], Any]] = []
    with gzip.open(fixtures / "snapchain" / "channels.ndjson.gz", "rt") as lines:
        for line in map(json.loads, lines):
            url = urlsplit(line["path"])
            if url.path == f"/v1/{endpoint}" and line["status"] == 200:
                found.append(({name: one for name, (one,) in parse_qs(url.query).items()}, json.loads(line["body"])))
    return found
