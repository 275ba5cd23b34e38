"""The target set's copy in Redis: one set of FIDs, and the generation that it is of.

Postgres is the source of truth: a reader gets the current generation from there, and ignores an answer of another one.
Every change names the generation that it builds on, so that late, lost or repeated ones do no harm.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from redis import Redis
from redis.exceptions import RedisError

from fc_pipeline.targets.recompute import SetChange

__all__ = ["CacheState", "RedisDown", "TargetCache"]

log = logging.getLogger(__name__)

FAILED_FOR_SECONDS: Final = 5.0
"""How long Redis is not used after it failed, so that no micro-batch waits for it twice."""
TIMEOUT_SECONDS: Final = 2.0
_CHUNK_FIDS: Final = 50_000
_POWERS_OF_TEN: Final = 10 ** np.arange(19, dtype=np.int64)

# KEYS: members, generation. ARGV: generation that this builds on, the new one, how many are added, those, the others.
_APPLY: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local added = tonumber(ARGV[3])
for first = 4, #ARGV, 5000 do
  local last = math.min(first + 4999, #ARGV)
  local until_added = math.min(last, 3 + added)
  if first <= until_added then redis.call('SADD', KEYS[1], unpack(ARGV, first, until_added)) end
  local from_removed = math.max(first, 4 + added)
  if from_removed <= last then redis.call('SREM', KEYS[1], unpack(ARGV, from_removed, last)) end
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""
# KEYS: members, generation, the set that was filled. ARGV: its generation. An older one never replaces a newer one.
_REPLACE: Final = """
local current = tonumber(redis.call('GET', KEYS[2]) or '-1')
if current > tonumber(ARGV[1]) then redis.call('DEL', KEYS[3]) return 0 end
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('RENAME', KEYS[3], KEYS[1]) end
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""
# KEYS: members, generation. ARGV: the generation that is to go.
_FORGET: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
"""


class RedisDown(Exception):
    """Redis does not answer; the caller goes to Postgres."""


@dataclass(frozen=True, slots=True)
class CacheState:
    """What Redis holds; generation None where it holds nothing."""

    generation: int | None
    members: int


class TargetCache:
    """One replica's keys in one Redis. Every method raises RedisDown where Redis does not answer."""

    def __init__(self, redis_url: str, cache_key: str) -> None:
        self._redis: Redis = Redis.from_url(
            redis_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        self._members = f"fc_pipeline:targets:{cache_key}:members"
        self._generation = f"fc_pipeline:targets:{cache_key}:generation"
        self._down_until = float("-inf")
        self._is_down = False

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def state(self) -> CacheState:
        """Which generation it holds and how many members, in one round trip."""
        generation, members = self._transaction(("GET", self._generation), ("SCARD", self._members))
        return CacheState(None if generation is None else int(generation), int(members))

    def ask(self, fids: npt.NDArray[np.int64]) -> tuple[int | None, npt.NDArray[np.bool_]]:
        """The generation held, and which of these FIDs are members, in one round trip."""
        if not len(fids):
            return self.state().generation, np.zeros(0, np.bool_)
        asked = ("SMISMEMBER", self._members, *fids.astype("S20").tolist())
        generation, found = self._transaction(("GET", self._generation), asked)
        return None if generation is None else int(generation), np.array(found, np.bool_)

    def apply(self, change: SetChange) -> bool:
        """Take over a committed change; False where Redis holds another generation than the one it builds on."""
        values = (change.base, change.generation, len(change.added), *change.added, *change.removed)
        return bool(self._run("EVAL", _APPLY, 2, self._members, self._generation, *values))

    def replace(self, generation: int, fids: npt.NDArray[np.int64]) -> bool:
        """Hold exactly these FIDs, all at once; False where Redis holds a newer generation already."""
        filled = f"{self._members}:{generation}:{time.monotonic_ns()}"
        self._run("DEL", filled)
        if len(fids):
            self._send_packed(_packed_adds(filled.encode(), fids))
        return bool(self._run("EVAL", _REPLACE, 3, self._members, self._generation, filled, generation))

    def forget(self, generation: int) -> bool:
        """Hold nothing, if it is this generation that is held."""
        return bool(self._run("EVAL", _FORGET, 2, self._members, self._generation, generation))

    def members(self) -> tuple[int | None, set[int]]:
        """The generation held, and all members."""
        generation, found = self._transaction(("GET", self._generation), ("SMEMBERS", self._members))
        return None if generation is None else int(generation), {int(fid) for fid in found}

    def _run(self, *command: Any) -> Any:
        def execute() -> Any:
            return self._redis.execute_command(*command)

        return self._guarded(execute)

    def _transaction(self, *commands: tuple[Any, ...]) -> Sequence[Any]:
        def execute() -> Sequence[Any]:
            with self._redis.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return pipeline.execute()

        return self._guarded(execute)

    def _send_packed(self, commands: Iterable[bytes]) -> None:
        """Send commands while the next ones are made, and read the answers, which are short, at the end."""

        def send() -> None:
            pool = self._redis.connection_pool
            connection = pool.get_connection()
            sent = 0
            try:
                for command in commands:
                    connection.send_packed_command([command])
                    sent += 1
                for _ in range(sent):
                    connection.read_response()
            except BaseException:
                connection.disconnect()
                raise
            finally:
                pool.release(connection)

        self._guarded(send)

    def _guarded(self, work: Any) -> Any:
        if time.monotonic() < self._down_until:
            raise RedisDown
        try:
            answer = work()
        except (RedisError, OSError) as error:
            self._down_until = time.monotonic() + FAILED_FOR_SECONDS
            if not self._is_down:  # once, until it answers again
                log.warning("redis_down reason=%s: membership is asked of Postgres, slower", type(error).__name__)
            self._is_down = True
            raise RedisDown from error
        if self._is_down:
            log.warning("redis_is_back: membership is asked of it again")
            self._is_down = False
        return answer


def _packed_adds(key: bytes, fids: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """SADDs of all FIDs, written as bytes at once: the client's own packing of a million arguments takes seconds."""
    for at in range(0, len(fids), _CHUNK_FIDS):
        chunk = fids[at : at + _CHUNK_FIDS]
        head = b"*%d\r\n$4\r\nSADD\r\n$%d\r\n%s\r\n" % (len(chunk) + 2, len(key), key)
        yield head + b"".join(_arguments(chunk))


def _arguments(fids: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """FIDs, above 0, as Redis reads arguments: length, value. Those with as many digits are written at once."""
    digits = np.searchsorted(_POWERS_OF_TEN, fids, side="right")
    for count in np.unique(digits).tolist():
        same = fids[digits == count]
        head, end = np.frombuffer(b"$%d\r\n" % count, np.uint8), np.frombuffer(b"\r\n", np.uint8)
        written = np.empty((len(same), len(head) + count + len(end)), np.uint8)
        written[:, : len(head)] = head
        written[:, -len(end) :] = end
        for place in range(count):
            written[:, len(head) + place] = same // _POWERS_OF_TEN[count - 1 - place] % 10 + ord("0")
        yield written.tobytes()
