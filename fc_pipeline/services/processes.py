"""Attributes of processes that may end while they are read.

A process that ends cannot be looked into any more a moment before it is gone: where one exits just then, psutil says
AccessDenied to an ordinary user, NoSuchProcess to root. Neither is an error here: it is no process to count on.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

__all__ = ["GONE", "alive_in", "listens_on", "name_of", "with_variable"]

GONE: Final = (psutil.NoSuchProcess, psutil.AccessDenied)
"""It has ended, it is ending, or it is another user's, so none of ours."""


def alive_in(pid: int, folder: Path, program: str) -> bool:
    """Whether the process is alive, runs such a program and has `folder` as its working folder.

    A pid that was written down may be another process by now; a server of ours is known by where it works.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or program not in process.name():
            return False
        return Path(process.cwd()) == folder.resolve()
    except GONE:
        return False


def listens_on(pid: int, port: int) -> bool:
    """Whether the process listens on this TCP port."""
    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except GONE:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)


def with_variable(name: str, value: str) -> Iterator[psutil.Process]:
    """The processes that were started with this environment variable and have not ended."""
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(name) == value:
                yield process
        except GONE:
            continue


def name_of(process: psutil.Process) -> str:
    """The name of its program, for a message."""
    try:
        return process.name()
    except GONE:
        return "ended meanwhile"
