"""Machines of a test's own: network namespaces on a bridge, and pods in them as a node of Kubernetes starts them.

A pod is the process of a job's container: its command, its variables by their names, a root that is read-only, and a
folder for each of its volumes. It reaches what listens on `ADDRESS`, and neither this machine's loopback nor its
sockets.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from fc_pipeline.config.project import project_root
from fc_pipeline_tests.support.acted_kubernetes import ActedKubernetes
from fc_pipeline_tests.support.deployed import image_variables

_NETWORK: Final = f"10.213.{os.getpid() % 250}"
ADDRESS: Final = f"{_NETWORK}.1"
"""Of the machine that the tests run on."""
_ENTER: Final = """
set -e
hostname "$1"
mount --make-rprivate /
mount --bind "$2" "$2"
mount -o remount,ro,bind /
shift 2
exec "$@"
"""


def container(hostname: str, folder: Path, *command: str | Path) -> list[str | Path]:
    """The command of a process that finds this machine's files, and can write to a folder of its own alone."""
    return ["unshare", "--mount", "--uts", "sh", "-c", _ENTER, "enter", hostname, folder, *command]


def require_containers() -> None:
    """Skips where this machine does not let us have any."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare (apt install util-linux)")
    tried = subprocess.run(["unshare", "--mount", "--uts", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no containers here: {tried.stderr.strip()} (needs root)")


@dataclass
class Machine:
    """A namespace, and the processes in it by the names of their jobs."""

    namespace: str
    cable: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])
    is_lost: bool = False

    def at_work(self) -> list[str]:
        """The jobs whose processes live."""
        return [name for name, process in self.processes.items() if process.poll() is None]


@dataclass
class Cluster:
    """Starts the pods of jobs on the machine with the fewest, and tells Kubernetes how they end."""

    kubernetes: ActedKubernetes
    machines: list[Machine]
    folder: Path
    config_maps: Mapping[str, Mapping[str, str]]
    secrets: Mapping[str, Mapping[str, str]]
    machine_of: dict[str, Machine] = field(default_factory=dict[str, Machine])
    _starting: threading.Lock = field(default_factory=threading.Lock)

    def start(self, job: dict[str, Any]) -> None:
        with self._starting:  # the daemon launches several at once
            self._start(job)

    def _start(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        machine = min((one for one in self.machines if not one.is_lost), key=lambda one: len(one.at_work()))
        folder = self.folder / name
        command, environment = self._container(job, folder)
        enter = ["ip", "netns", "exec", machine.namespace]
        command = [*enter, *container(name[:60], folder, *command)]
        with (folder / "output").open("wb") as out:
            process = subprocess.Popen(command, env=environment, cwd=project_root(), stdout=out, stderr=out)
        machine.processes[name] = process
        self.machine_of[name] = machine
        self.kubernetes.say(name, active=1)
        threading.Thread(target=self._until_its_end, args=(name, process), daemon=True).start()

    def _container(self, job: dict[str, Any], folder: Path) -> tuple[list[str | Path], dict[str, str]]:
        """The command and the variables of its container, whose volumes are folders."""
        (given,) = job["spec"]["template"]["spec"]["containers"]
        volumes = {mount["mountPath"]: folder / mount["name"] for mount in given["volumeMounts"]}
        for volume in volumes.values():
            volume.mkdir(parents=True)
        variables: dict[str, str] = {**image_variables(), "TMPDIR": "/tmp"}  # noqa: S108
        for source in given["envFrom"]:
            kind, where = ("secretRef", self.secrets) if "secretRef" in source else ("configMapRef", self.config_maps)
            variables |= where[source[kind]["name"]]
        for one in given["env"]:
            secret = one.get("valueFrom", {}).get("secretKeyRef")
            variables[one["name"]] = self.secrets[secret["name"]][secret["key"]] if secret else one["value"]
        inside = {name: str(volumes.get(value, value)) for name, value in variables.items()}
        program, *arguments = given["args"]
        return [str(Path(sys.prefix) / "bin" / program), *arguments], {**inside, "PATH": os.environ["PATH"]}

    def _until_its_end(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.kubernetes.say(name, **{"failed" if process.wait() else "succeeded": 1})

    def delete(self, name: str) -> None:
        """As Kubernetes ends a pod: it is asked to, and killed after its grace."""
        process = self.machine_of[name].processes[name]
        process.send_signal(signal.SIGTERM)

    def lose(self, machine: Machine) -> list[str]:
        """The machine loses its power, with all that runs on it: no connection of theirs is closed. Gives the jobs."""
        machine.is_lost = True
        lost = machine.at_work()
        _run("ip", "link", "set", machine.cable, "down")
        for name in lost:
            machine.processes[name].kill()
        return lost

    def output(self, name: str) -> str:
        return (self.folder / name / "output").read_text(encoding="utf-8", errors="replace")


@contextmanager
def machines(count: int) -> Generator[list[Machine]]:
    """So many machines, until the block ends; skips where this one cannot have namespaces."""
    if shutil.which("ip") is None:
        pytest.skip("needs ip (apt install iproute2)")
    require_containers()
    name = f"fc{os.getpid()}"
    with ExitStack() as stack:
        try:
            _run("ip", "link", "add", name, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network of its own: {error.stderr.strip()} (needs root, and a kernel that has bridges)")
        stack.callback(_run, "ip", "link", "delete", name)
        _run("ip", "address", "add", f"{ADDRESS}/24", "dev", name)
        _run("ip", "link", "set", name, "up")
        made: list[Machine] = []
        for number in range(count):
            machine = Machine(f"{name}-{number}", cable=f"{name}v{number}")
            _run("ip", "netns", "add", machine.namespace)
            stack.callback(_run, "ip", "netns", "delete", machine.namespace)
            end = ("peer", "name", "eth0", "netns", machine.namespace)
            _run("ip", "link", "add", machine.cable, "type", "veth", *end)
            _run("ip", "link", "set", machine.cable, "master", name, "up")
            inside = ("ip", "-n", machine.namespace)
            _run(*inside, "address", "add", f"{_NETWORK}.{number + 10}/24", "dev", "eth0")
            _run(*inside, "link", "set", "eth0", "up")
            _run(*inside, "link", "set", "lo", "up")
            made.append(machine)
        try:
            yield made
        finally:
            for process in [process for machine in made for process in machine.processes.values()]:
                process.kill()
                process.wait()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
