"""Published archives: any order of chunks, connections that break, archives that are replaced, and damage."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.errors import ConfigError, NodeDatabaseError
from fc_pipeline.node_db.archive import unpack
from fc_pipeline.node_db.archive_source import ArchiveSource
from fc_pipeline_tests.support.node_archives import NETWORK, published

FILES = {"CURRENT": b"MANIFEST-1\n", "000012.sst": bytes(range(256)) * 40, "MANIFEST-1": b"", "000013.sst": b"x" * 5000}


def unpacked(folder: Path, shard: int = 1) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / f"shard-{shard}").iterdir()}


class Server(ThreadingHTTPServer):
    """Serves a folder; breaks off each answer after so many bytes, and may ignore where one asks to go on."""

    base: Path
    breaks_after: int | None = None
    ignores_range = False
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = self.server.base / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        asked = self.headers.get("Range")
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not self.server.ignores_range else 0
        content = content[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if self.server.breaks_after is None else content[: self.server.breaks_after])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server has it
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    base = tmp_path / "published"
    base.mkdir()
    made = Server(("127.0.0.1", 0), Handler)
    made.base, made.asked = base, []
    Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def source_of(server: Server) -> ArchiveSource:
    return ArchiveSource(f"http://127.0.0.1:{server.server_port}/", sleep=lambda seconds: None)


def test_a_folder_of_archives_is_unpacked(tmp_path: Path) -> None:
    published(tmp_path / "published", FILES)
    source = ArchiveSource(str(tmp_path / "published"))
    done = unpack(source, 1, tmp_path / "node")
    assert done is not None
    assert done.is_done
    assert unpacked(tmp_path / "node") == FILES
    assert unpack(source, 2, tmp_path / "node") is None


@pytest.mark.parametrize("ignores_range", [False, True])
def test_a_connection_that_breaks_is_taken_up(server: Server, tmp_path: Path, ignores_range: bool) -> None:
    import random

    noise = random.Random(3).randbytes(9_000)
    published(server.base, {**FILES, "000014.sst": noise}, size=100_000)
    server.breaks_after, server.ignores_range = (400, False) if not ignores_range else (None, True)
    unpack(source_of(server), 1, tmp_path / "node")
    assert unpacked(tmp_path / "node")["000014.sst"] == noise
    if not ignores_range:
        assert sum("chunk" in path for path in server.asked) > 20


def test_a_server_that_stays_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeDatabaseError, match=r"127\.0\.0\.1:9/.*latest.json could not be read") as refusal:
        unpack(ArchiveSource("http://127.0.0.1:9", sleep=lambda seconds: None), 1, tmp_path)
    assert "goes on from there" in str(refusal.value)


def test_an_archive_that_is_replaced_begins_anew(server: Server, tmp_path: Path) -> None:
    old = published(server.base, FILES)
    newer = {**FILES, "000012.sst": b"newer"}

    def replace(archive: Any, done: Any) -> None:
        if archive.key_base == old and done.files == 1:
            for chunk in sorted((server.base / old).iterdir())[1:]:
                chunk.unlink()
            published(server.base, newer, number=2)

    unpack(source_of(server), 1, tmp_path / "node", report=replace)
    assert unpacked(tmp_path / "node") == newer


@given(size=st.integers(min_value=1, max_value=4000), stops=st.integers(min_value=1, max_value=4))
def test_cut_anywhere_and_stopped_anywhere_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, size: int, stops: int
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    files = {name: content[:1300] for name, content in FILES.items()}
    published(folder / "published", files, size=size)
    source = ArchiveSource(str(folder / "published"))
    for _ in range(stops):
        unpack(source, 1, folder / "node", should_stop=lambda: True)
    assert len(unpacked(folder / "node")) == stops
    done = unpack(source, 1, folder / "node")
    assert done is not None
    assert done.is_done
    assert unpacked(folder / "node") == files


@pytest.mark.parametrize("cut", [5, -3])
def test_a_damaged_chunk_is_refused(tmp_path: Path, cut: int) -> None:
    base = tmp_path / "published"
    key_base = published(base, FILES)
    chunk = base / key_base / "chunk_0002.bin"
    raw = bytearray(chunk.read_bytes())
    chunk.write_bytes(raw[:cut] if cut < 0 else raw[:-6] + b"\0\0" + raw[-4:])
    with pytest.raises(NodeDatabaseError, match=r"chunk_0002\.bin"):
        unpack(ArchiveSource(str(base)), 1, tmp_path / "node")


def test_a_missing_chunk_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "published"
    key_base = published(base, FILES)
    (base / key_base / "chunk_0003.bin").unlink()
    with pytest.raises(NodeDatabaseError, match=r"chunk_0003\.bin is missing"):
        unpack(ArchiveSource(str(base)), 1, tmp_path / "node")
    latest = base / NETWORK / "1" / "latest.json"
    latest.write_text(latest.read_text().replace("chunk_0003.bin", "chunk_0099.bin"))
    with pytest.raises(NodeDatabaseError, match="not numbered from 1"):
        unpack(ArchiveSource(str(base)), 1, tmp_path / "node")


def test_a_path_that_leads_elsewhere_stays_inside(tmp_path: Path) -> None:
    published(tmp_path / "published", {"../../../outside": b"here"})
    unpack(ArchiveSource(str(tmp_path / "published")), 1, tmp_path / "node")
    assert unpacked(tmp_path / "node") == {"outside": b"here"}


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown network 'moon'"):
        ArchiveSource("https://example.org", "moon")
