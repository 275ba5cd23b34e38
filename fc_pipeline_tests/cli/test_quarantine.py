"""`fc-pipeline quarantine`: list, show and replay, and nothing that a hub sent does anything to a terminal."""

import json
from pathlib import Path

import pytest

from fc_pipeline.cli.quarantine import _printable
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.cli.test_sync_and_status import Project
from fc_pipeline_tests.support.poison_stream import good_log, spoil


@pytest.mark.slow
def test_list_show_and_replay(tmp_path: Path) -> None:
    spoilt = spoil(
        good_log(3, 500), 2, names=("text not UTF-8", "type unknown", "hash no hex", "raw NUL byte", "NUL in a text")
    )
    with serving(spoilt.log) as url:
        project = Project(tmp_path / "data", url)
        assert project.run("sync").returncode == 0
        listed = project.run("quarantine", "list", "--json")
        assert listed.returncode == 0, listed.stderr
        found = json.loads(listed.stdout)
        assert found["counts"].items() >= {"invalid": 1, "undecodable": 2, "unknown_type": 1}.items()
        only = json.loads(project.run("quarantine", "list", "--reason", "undecodable", "--json").stdout)
        assert {one["reason"] for one in only["records"]} == {"undecodable"}
        plain = project.run("quarantine", "list")
        assert plain.returncode == 0
        assert all(record["record"] in plain.stdout for record in found["records"])
        assert max(map(len, plain.stdout.splitlines())) <= 80
        assert "nul_removed" not in found["counts"]
        assert json.loads(project.run("quarantine", "list", "--all", "--json").stdout)["counts"]["nul_removed"] >= 1

        raws = {planted.raw for planted in spoilt.planted}
        for record in only["records"]:
            shown = project.run("quarantine", "show", record["record"], "--json")
            assert bytes.fromhex(json.loads(shown.stdout)["raw_hex"]) in raws
        shown = project.run("quarantine", "show", only["records"][0]["record"])
        assert shown.returncode == 0, shown.stderr
        assert "reason: undecodable" in shown.stdout

        replayed = project.run("quarantine", "replay", "--json")
        assert replayed.returncode == 0, replayed.stderr
        outcome = json.loads(replayed.stdout)
        assert (outcome["resolved"], outcome["rows_written"]) == (0, 0)
        assert len(outcome["left"]) == sum(found["counts"].values())
        refused = project.run("quarantine", "replay", "no-such-record")
        assert refused.returncode == 2
        assert "is no name of a quarantined record" in refused.stderr


def test_bytes_are_printed_as_text_that_does_nothing() -> None:
    assert _printable("naïve 🎈".encode()) == "naïve 🎈"
    assert _printable(b"\xff\x00\x1b[31m\r\n") == r"\xff\x00\x1b[31m\r\n"
    assert _printable("\u202e\ud800".encode("utf-8", "surrogatepass")) == r"\u202e\xed\xa0\x80"
