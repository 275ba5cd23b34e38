"""Where nodes' archives are published: an address over HTTP, or a folder with the same names (node-db 4).

Pieces are read as they come. A connection that breaks is taken up where it was; an archive that was replaced meanwhile
is told apart, for only the newest one is kept.
"""

import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import certifi
import msgspec

from fc_pipeline.errors import ConfigError, NodeDatabaseError

__all__ = ["Archive", "ArchiveReplaced", "ArchiveSource"]

log = logging.getLogger(__name__)

NETWORKS: Final = {
    "mainnet": "FARCASTER_NETWORK_MAINNET",
    "testnet": "FARCASTER_NETWORK_TESTNET",
    "devnet": "FARCASTER_NETWORK_DEVNET",
}
_CHUNK: Final = re.compile(r"chunk_(\d+)\.bin")
_PIECE_BYTES: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 60
_ATTEMPTS: Final = 8
_MAX_PAUSE_SECONDS: Final = 60.0
_PASSING: Final = (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


class ArchiveReplaced(Exception):
    """A newer archive has taken the place of the one that is read."""


class _Latest(msgspec.Struct):
    key_base: str
    chunks: list[str]
    timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Archive:
    """One shard's newest archive: its folder at the source, and its chunks in order; `unix` is when it was begun."""

    shard: int
    key_base: str
    chunks: tuple[str, ...]
    unix: float


@dataclass(frozen=True)
class ArchiveSource:
    """`base` is an address or a folder; `sleep` is injected by tests."""

    base: str
    network: str = "mainnet"
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ConfigError(f"unknown network {self.network!r}", hint=f"expected: {', '.join(NETWORKS)}")

    @property
    def is_address(self) -> bool:
        """Whether it is asked over HTTP."""
        return self.base.startswith(("http://", "https://"))

    def newest(self, shard: int) -> Archive | None:
        """A shard's newest archive; None where there is no such shard. Raises NodeDatabaseError."""
        name = f"{NETWORKS[self.network]}/{shard}/latest.json"
        try:
            raw = b"".join(self._pieces(name))
        except FileNotFoundError:
            return None
        try:
            latest = msgspec.json.decode(raw, type=_Latest)
        except msgspec.MsgspecError as error:
            raise NodeDatabaseError(f"{self._place(name)} is not what nodes publish: {error}") from error
        return Archive(shard, latest.key_base, self._in_order(name, latest.chunks), latest.timestamp / 1000)

    def _in_order(self, name: str, chunks: list[str]) -> tuple[str, ...]:
        """The uploader lists its folder in any order, and the tar is cut in the order of their numbers."""
        numbered = {int(match[1]): chunk for chunk in chunks if (match := _CHUNK.fullmatch(chunk))}
        if not chunks or sorted(numbered) != list(range(1, len(chunks) + 1)):
            raise NodeDatabaseError(
                f"{self._place(name)} lists chunks that are not numbered from 1 to {len(chunks)}",
                hint="an upload may be under way: try again later",
            )
        return tuple(numbered[number] for number in sorted(numbered))

    def chunk(self, archive: Archive, place: int) -> Iterator[bytes]:
        """The bytes of a chunk, as they come. Raises ArchiveReplaced, NodeDatabaseError."""
        name = f"{archive.key_base}/{archive.chunks[place]}"
        try:
            yield from self._pieces(name)
        except FileNotFoundError as error:
            newest = self.newest(archive.shard)
            if newest is not None and newest.key_base != archive.key_base:
                raise ArchiveReplaced from error
            raise NodeDatabaseError(
                f"{self._place(name)} is missing", hint="the archive is not whole: name another source"
            ) from error

    def _pieces(self, name: str) -> Iterator[bytes]:
        """A file's bytes. Raises FileNotFoundError, NodeDatabaseError after several attempts in vain."""
        if not self.is_address:
            with (Path(self.base) / name).open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    yield piece
            return
        got = 0
        failures = 0
        while True:
            try:
                for piece in self._answer(name, got):
                    got += len(piece)
                    failures = 0
                    yield piece
            except HTTPError as error:
                if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
                    raise FileNotFoundError(name) from error
                failure: Exception = error
            except _PASSING as error:
                failure = error
            else:
                return
            failures += 1
            if failures >= _ATTEMPTS:
                raise NodeDatabaseError(
                    f"{self._place(name)} could not be read: {failure}",
                    hint="what was unpacked stays: the same command goes on from there",
                ) from failure
            pause_seconds = min(_MAX_PAUSE_SECONDS, 2.0**failures)
            log.warning("archive_again name=%s from_byte=%d reason=%r", name, got, str(failure))
            self.sleep(pause_seconds)

    def _answer(self, name: str, first_byte: int) -> Iterator[bytes]:
        """The bytes of a file from one on, also where a server sends all of them."""
        headers = {"Range": f"bytes={first_byte}-"} if first_byte else {}
        request = Request(self._place(name), headers=headers)  # noqa: S310 - http or https, see is_address
        with urlopen(request, timeout=_TIMEOUT_SECONDS, context=_certificates(self.base)) as answer:  # noqa: S310
            skipped = first_byte if answer.status == HTTPStatus.OK else 0
            expected = answer.headers.get("Content-Length")
            got = 0
            while piece := answer.read(_PIECE_BYTES):
                got += len(piece)
                if skipped:
                    kept = piece[skipped:]
                    skipped -= len(piece) - len(kept)
                    piece = kept
                if piece:
                    yield piece
            if expected is not None and got < int(expected):
                raise ConnectionError(f"the connection ended after {got:,} of {int(expected):,} bytes")

    def _place(self, name: str) -> str:
        return f"{self.base.rstrip('/')}/{name}"


def _certificates(base: str) -> Any:
    return ssl.create_default_context(cafile=certifi.where()) if base.startswith("https://") else None
