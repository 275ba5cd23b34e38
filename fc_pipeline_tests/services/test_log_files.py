"""Logs are kept small while their writers go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fc_pipeline.services.children import start_child, tail
from fc_pipeline.services.log_files import keep_small

WRITER = "import sys\nfor line in sys.stdin: print(line.strip() * 100, flush=True)"


def test_a_long_log_is_moved_and_its_writer_goes_on_in_the_empty_one(tmp_path: Path):
    log_file = tmp_path / "server.log"
    with (
        log_file.open("ab") as log,
        subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=log, text=True) as writer,
    ):
        assert writer.stdin is not None
        writer.stdin.write("before\n")
        writer.stdin.flush()
        while not log_file.stat().st_size:
            assert writer.poll() is None
        assert keep_small(tmp_path, max_bytes=1000) == []
        assert keep_small(tmp_path, max_bytes=100) == [log_file]
        assert log_file.read_bytes() == b""
        writer.stdin.write("after\n")
    assert log_file.read_text() == "after" * 100 + "\n"
    assert (tmp_path / "server.log.1").read_text() == "before" * 100 + "\n"
    assert keep_small(tmp_path, max_bytes=100) == [log_file]
    assert (tmp_path / "server.log.1").read_text() == "after" * 100 + "\n"


def test_what_up_starts_keeps_compiled_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    command = [sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)"]
    child = start_child("child", command, data_dir=tmp_path, cwd=tmp_path, environment={})
    assert child.process.wait(60) == 0
    assert tail(child.log_file, 1) == "False"
    assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1"
