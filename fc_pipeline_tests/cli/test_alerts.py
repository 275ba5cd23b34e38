"""`fc-pipeline alerts` and the watcher of `up`, as processes, with a real receiver."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.canaries import Canaries
from fc_pipeline_tests.support.receiver import Receiver, receiving
from fc_pipeline_tests.support.up import (
    Up,
    data_dir,  # noqa: F401 - a fixture
    environment,
    marked,
)

SECRET = "canary-4711-geheim"
CANARIES = Canaries(address=SECRET)
GONE = "`fc-pipeline up` is gone"


def run(data_dir: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:  # noqa: F811
    return subprocess.run(
        [sys.executable, "-m", "fc_pipeline.cli", *command],
        env={**environment(data_dir), **variables},
        capture_output=True,
        text=True,
    )


def secret_url(receiver: Receiver) -> str:
    return f"json://user:{SECRET}@127.0.0.1:{receiver.port}/{SECRET}?+X-Api-Key={SECRET}"


def test_a_test_message_says_of_each_address_whether_it_was_accepted(data_dir: Path) -> None:  # noqa: F811
    with receiving() as accepts, receiving(status=401) as refuses:
        accepted = run(data_dir, "alerts", "test", FC_ALERT_URLS=accepts.url)
        both = run(data_dir, "--debug", "alerts", "test", FC_ALERT_URLS=f"{accepts.url} {secret_url(refuses)}")
    assert (accepted.returncode, accepted.stdout) == (0, "1 (JSON): accepted\n")
    assert both.returncode == 1
    assert both.stdout == "1 (JSON): accepted\n2 (JSON): not accepted: it answered with HTTP 401\n"
    assert accepts.titles == ["fc_pipeline: a test"] * 2
    assert CANARIES.in_text(both.stdout + both.stderr) == set()


@pytest.mark.parametrize(
    ("urls", "says"),
    [("", "FC_ALERT_URLS is unset"), (f"nosuch://{SECRET}", "number 1"), (f"json://127.0.0.1,{SECRET}:", "number 1")],
)
def test_who_cannot_be_told_is_an_error_of_the_setting(data_dir: Path, urls: str, says: str) -> None:  # noqa: F811
    done = run(data_dir, "--debug", "alerts", "test", FC_ALERT_URLS=urls)
    assert done.returncode != 0
    assert says in done.stderr
    assert CANARIES.in_text(done.stdout + done.stderr) == set()


def test_up_without_apprise_fails_at_once_with_the_command_that_installs_it(
    data_dir: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "apprise.py").write_text("raise ImportError('not installed')\n")
    done = run(data_dir, "up", FC_ALERT_URLS="json://127.0.0.1:9", PYTHONPATH=str(tmp_path / "packages"))
    assert done.returncode == 2
    assert "Apprise" in done.stderr
    assert "pip install 'fc-pipeline[alerts]'" in done.stderr
    assert marked(data_dir) == {}


def children(data_dir: Path) -> dict[str, int]:  # noqa: F811
    return json.loads((data_dir / "run" / "up.json").read_text())["children"]


def wait_until_another(data_dir: Path, name: str, pid: int) -> int:  # noqa: F811
    deadline = time.monotonic() + 60
    while (now := children(data_dir)[name]) == pid:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return now


def wait_until_log_has(data_dir: Path, words: str, count: int) -> None:  # noqa: F811
    log = data_dir / "logs" / "alerts.log"
    deadline = time.monotonic() + 120
    while not log.is_file() or log.read_text().count(words) < count:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def told_of(receiver: Receiver, words: str) -> int:
    """How many messages have these words; several turns may be in one."""
    return sum(words in message["message"] for message in receiver.messages)


@pytest.mark.slow
def test_what_dies_under_up_and_up_itself_is_told_once(data_dir: Path) -> None:  # noqa: F811
    with receiving() as receiver:
        variables = {"FC_ALERT_URLS": secret_url(receiver)}
        up = Up(data_dir, free_port(), **variables)
        up.wait_until_up()
        wait_until_log_has(data_dir, "watch_begins", 1)
        assert receiver.messages == []

        psutil.Process(children(data_dir)["daemon"]).kill()
        receiver.wait_for("Dagster's daemon ended, and was started again")
        wait_until_log_has(data_dir, "alert_sent", 1)  # one that dies before it has noted that tells it once more

        watcher = children(data_dir)["alerts"]
        psutil.Process(watcher).kill()
        watcher = wait_until_another(data_dir, "alerts", watcher)
        receiver.wait_for("the watcher of alerts ended, and was started again")
        assert told_of(receiver, "YELLOW: Dagster's daemon") == 1, "a watcher that comes again repeats nothing"

        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
        told = receiver.wait_for(GONE)
        assert "Dagster's code server" in told["message"], "what is left"
        psutil.wait_procs([psutil.Process(watcher)] if psutil.pid_exists(watcher) else [], timeout=60)
        assert not any("alerts" in command for command in marked(data_dir).values())

        again = Up(data_dir, free_port(), **variables)
        again.wait_until_up()
        receiver.wait_for(f"OVER: {GONE}")
        before = len(receiver.messages)
        again.process.send_signal(signal.SIGINT)
        assert again.process.wait(120) == 0
        assert len(receiver.messages) == before, "an end that was asked for is no news"
        assert [told_of(receiver, f"{kind}: {GONE}") for kind in ("RED", "OVER")] == [1, 1]
    assert marked(data_dir) == {}
    assert CANARIES.in_files(data_dir / "logs") == {}
    assert CANARIES.in_files(data_dir / "run") == {}
    assert CANARIES.in_bytes((data_dir / "alerts.json").read_bytes()) == set()
    assert CANARIES.in_text(up.output.read_text() + str([message["message"] for message in receiver.messages])) == set()
