"""Processes that end while they are looked at: never an error, for root and for an ordinary user alike."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fc_pipeline.services.processes import alive_in, listens_on, name_of, with_variable

LISTENER = """
import socket, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
time.sleep(60)
"""
QUESTIONS = """
import os, pwd, subprocess, sys
from pathlib import Path
import psutil
from fc_pipeline.services.processes import alive_in, listens_on, name_of, with_variable
if sys.argv[2] == "nobody":  # only now: that user may be unable to read this Python
    os.setgroups([])
    os.setgid(pwd.getpwnam("nobody").pw_gid)
    os.setuid(pwd.getpwnam("nobody").pw_uid)
for _ in range(int(sys.argv[1])):
    with subprocess.Popen(["/bin/true"], env={"MARK_OF_TEST": "1"}) as child:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            listens_on(child.pid, 1)
            alive_in(child.pid, Path("/"), "true")
            name_of(process)
            for found in with_variable("MARK_OF_TEST", "1"):
                name_of(found)
        assert not listens_on(child.pid, 1)
        assert not alive_in(child.pid, Path("/"), "true")
print("asked")
"""


def test_a_process_that_is_gone_listens_on_nothing_and_has_no_name():
    with subprocess.Popen(["/bin/true"]) as child:
        process = psutil.Process(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        assert not listens_on(child.pid, 1)
        assert not alive_in(child.pid, Path.cwd(), "")
    assert not listens_on(child.pid, 1)
    assert name_of(process) == "ended meanwhile"


def test_a_living_one_is_known_by_its_port_its_folder_and_its_variable(tmp_path: Path):
    command = [sys.executable, "-c", LISTENER]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, "MARK_OF_TEST": str(tmp_path)}
    ) as child:
        try:
            assert child.stdout is not None
            port = int(child.stdout.readline())
            assert listens_on(child.pid, port)
            assert not listens_on(child.pid, port + 1)
            assert alive_in(child.pid, tmp_path, "python")
            assert child.pid in {process.pid for process in with_variable("MARK_OF_TEST", str(tmp_path))}
        finally:
            child.kill()


@pytest.mark.parametrize("user", ["this user", "nobody"])
def test_processes_that_end_while_they_are_looked_at(user: str):
    """Asked of many that live for a moment: an ordinary user is denied where root is told that it is gone."""
    if user == "nobody" and os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    asked = subprocess.run([sys.executable, "-c", QUESTIONS, "30", user], capture_output=True, text=True)
    assert asked.stdout == "asked\n", asked.stderr
