"""The user that runs the embedded Postgres, which refuses to run as root: root's server runs as `pgserver`."""

import logging
import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import Final, TypedDict

from fc_pipeline.errors import ServiceError

__all__ = [
    "as_server_user",
    "give_to_system_user",
    "let_system_user_in",
    "let_system_user_run",
    "require_passwd_entry",
    "server_uid",
    "user_name",
]

_log = logging.getLogger(__name__)

_SYSTEM_USER: Final = "pgserver"


class StartAs(TypedDict, total=False):
    env: dict[str, str]
    cwd: str
    user: int
    group: int
    extra_groups: list[int]


def server_uid() -> int:
    """The UID of the server's processes and files."""
    return _system_user().pw_uid if os.geteuid() == 0 else os.geteuid()


def as_server_user() -> StartAs:
    """How to start a process of the server: its user, and an environment without our secrets."""
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    if os.geteuid() != 0:
        return {"env": environment, "cwd": "/"}
    user = _system_user()
    return {"env": environment, "cwd": "/", "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _system_user() -> pwd.struct_passwd:
    """The user that runs the server if we are root; created when needed."""
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        pass
    made = subprocess.run(
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER],  # noqa: S607
        capture_output=True,
        text=True,
    )
    try:
        return pwd.getpwnam(_SYSTEM_USER)  # also where another process was faster
    except KeyError:
        raise ServiceError(
            f"Postgres does not run as root, and the system user {_SYSTEM_USER} cannot be made: {made.stderr.strip()}",
            hint=f"make the user {_SYSTEM_USER}, run as an ordinary user, or set FC_POSTGRES_URL",
        ) from None


def require_passwd_entry() -> None:
    """Raise ServiceError where initdb would: it asks for the name of its user, as in a container with any UID."""
    try:
        pwd.getpwuid(server_uid())
    except KeyError:
        uid, gid = server_uid(), os.getegid()
        raise ServiceError(
            f"the embedded Postgres cannot be made: this user (UID {uid}) has no entry in /etc/passwd",
            hint=f"add one in the image: echo 'fc:x:{uid}:{gid}::/tmp:/bin/sh' >> /etc/passwd; or run as a user "
            "that has one, or set FC_POSTGRES_URL",
        ) from None


def user_name(uid: int) -> str:
    """The user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def give_to_system_user(*paths: Path) -> None:
    """Make these files the server user's, if we are root."""
    if os.geteuid() == 0:
        user = _system_user()
        for path in paths:
            os.chown(path, user.pw_uid, user.pw_gid)


def let_system_user_in(*folders: Path) -> None:
    """Let the server's user pass through (not list) the folders above its own, e.g. /root with mode 0700."""
    if os.geteuid() != 0:
        return
    user = _system_user()
    for path in {parent for folder in folders for parent in (folder.resolve(), *folder.resolve().parents)}:
        found = path.stat()
        if found.st_uid != user.pw_uid and not found.st_mode & stat.S_IXOTH:
            _log.warning("letting the user %s pass through %s (chmod o+x) to run Postgres below it", user.pw_name, path)
            path.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)


def let_system_user_run(install_dir: Path) -> None:
    """Make the server's own files readable where they were installed under a strict umask."""
    if os.geteuid() != 0 or (install_dir / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for path in (install_dir, *install_dir.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
