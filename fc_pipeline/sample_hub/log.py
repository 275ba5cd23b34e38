"""The event log that the sample hub serves: per shard, the events' bytes as they stood in the file, found by id.

Only what serving needs is read from each line (id, shard, block time); the JSON itself is never written again.
"""

import gzip
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final, cast

import msgspec

from fc_pipeline.errors import ConfigError
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, first_event_id, height_of

__all__ = ["Block", "EventLog", "ShardLog", "load_log", "log_from_lines"]

REGISTERED: Final = re.compile(rb'"eventType":"(?:ID_REGISTER_EVENT_TYPE_REGISTER|Register)"')


class _BlockTime(msgspec.Struct, gc=False):
    timestamp: int


class _Head(msgspec.Struct, gc=False):
    type: str
    id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    shardIndex: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 1
    blockConfirmedBody: _BlockTime | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)


@dataclass(slots=True)
class Block:
    """All events of one height of one shard, ids ascending; the unix second is that of its BLOCK_CONFIRMED, if any."""

    height: int
    event_ids: list[int]
    raws: list[bytes]
    unix_seconds: int | None = None
    registrations: int = 0


class ShardLog:
    """One shard's events in id order. Those up to `visible_end` are served; the rest are still to be revealed.

    Indexes count from the oldest event that is still held: dropping old blocks shifts them.
    """

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.event_ids = array("Q")
        self.raws: list[bytes] = []
        self.visible_end = 0
        self.dropped_events = 0
        self.size_bytes = 0
        self.registrations = 0
        self._newest_unix: int | None = None
        self._scanned_end = 0
        self._head_height = 0
        self._block_times: deque[tuple[int, int]] = deque()

    def append(self, block: Block, *, visible: bool = True) -> None:
        """Add the block after all others; raises ValueError if its ids are not above those already here."""
        if self.event_ids and block.event_ids[0] <= self.event_ids[-1]:
            raise ValueError(f"event {block.event_ids[0]} of shard {self.shard} is not above {self.event_ids[-1]}")
        self.event_ids.extend(block.event_ids)
        self.raws.extend(block.raws)
        if visible:
            self.reveal(block)

    def reveal(self, block: Block) -> None:
        """Make the next hidden block visible; its bytes replace those held (a live BLOCK_CONFIRMED is stamped)."""
        start, end = self.visible_end, self.visible_end + len(block.raws)
        self.raws[start:end] = block.raws
        self.visible_end = end
        self.size_bytes += sum(map(len, block.raws))
        self.registrations += block.registrations
        self._head_height = block.height
        if block.unix_seconds is not None:
            self._newest_unix = block.unix_seconds
            self._scanned_end = end
            self._block_times.append((block.height, block.unix_seconds))

    def hidden_block(self) -> Block | None:
        """The block that would be revealed next, as it stands in the log; None when all is visible."""
        if self.visible_end >= len(self.raws):
            return None
        start = self.visible_end
        height = height_of(self.event_ids[start])
        end = bisect_left(self.event_ids, first_event_id(height + 1))
        return block_of(height, self.event_ids[start:end].tolist(), self.raws[start:end])

    def hide_all(self) -> None:
        """Start again from nothing visible, for live mode."""
        self.visible_end = self.size_bytes = self.registrations = self._scanned_end = self._head_height = 0
        self._newest_unix = None
        self._block_times.clear()

    def span(self, from_id: int, stop_id: int | None, page_size: int, *, reverse: bool) -> range:
        """Indexes of a page in the order served: `from_id` inclusive, `stop_id` exclusive (hub-api 3.1)."""
        low = bisect_left(self.event_ids, from_id, 0, self.visible_end)
        high = self.visible_end
        if stop_id is not None:
            high = bisect_left(self.event_ids, stop_id, 0, high)
        if low >= high:
            return range(0)
        if reverse:
            return range(high - 1, max(low, high - page_size) - 1, -1)
        return range(low, min(high, low + page_size))

    def find(self, event_id: int) -> bytes | None:
        """The visible event of that id."""
        index = bisect_left(self.event_ids, event_id, 0, self.visible_end)
        return self.raws[index] if index < self.visible_end and self.event_ids[index] == event_id else None

    @property
    def head_height(self) -> int:
        """Height of the newest visible block, also when its events were dropped since; 0 before the first."""
        return self._head_height

    @property
    def newest_unix(self) -> int | None:
        """Unix second of the newest block; without BLOCK_CONFIRMED, of the newest visible message or contract event."""
        if self._scanned_end < self.visible_end:
            newest = max(map(newest_claim, self.raws[self._scanned_end : self.visible_end]), default=0)
            self._newest_unix = max(self._newest_unix or 0, newest) or None
            self._scanned_end = self.visible_end
        return self._newest_unix

    def first_height_since(self, unix_seconds: float) -> int | None:
        """Height of the oldest visible block of that second or later; None where no block says its time."""
        return next((height for height, second in self._block_times if second >= unix_seconds), None)

    def drop_before(self, event_id: int) -> int:
        """Forget all visible events below that id, as retention does; returns how many went away."""
        count = bisect_left(self.event_ids, event_id, 0, self.visible_end)
        del self.event_ids[:count]
        del self.raws[:count]
        self.visible_end -= count
        self._scanned_end = max(0, self._scanned_end - count)
        self.dropped_events += count
        while self._block_times and first_event_id(self._block_times[0][0]) < event_id:
            self._block_times.popleft()
        return count


class EventLog:
    """All shards of a hub. `arrival` is the order in which the log's blocks came, as one shard number per block."""

    def __init__(self) -> None:
        self.shards: dict[int, ShardLog] = {}
        self.arrival = array("I")

    def shard(self, shard: int) -> ShardLog:
        """The shard's log, made on first use."""
        return self.shards.setdefault(shard, ShardLog(shard))

    def append(self, shard: int, block: Block, *, visible: bool = True) -> None:
        """Add a block to its shard; raises ValueError if its ids are not above those already there."""
        self.shard(shard).append(block, visible=visible)
        self.arrival.append(shard)

    @property
    def serving_order(self) -> list[int]:
        """The hub's arbitrary but stable order of shards where none was asked for (hub-api 3.1)."""
        return sorted(self.shards, reverse=True)

    @property
    def events(self) -> int:
        """Events held, visible or not."""
        return sum(len(shard.raws) for shard in self.shards.values())


def load_log(path: Path) -> EventLog:
    """The log in an NDJSON or NDJSON.gz file of one HubEvent per line.

    Raises ConfigError naming the file, and the line that is not an event.
    """
    try:
        with open_log(path) as lines:
            return log_from_lines(lines, source=str(path))
    except (OSError, EOFError) as error:
        raise ConfigError(
            f"cannot read the event log {path}: {error}", hint="give an NDJSON or NDJSON.gz file of hub events"
        ) from error


def open_log(path: Path) -> BinaryIO:
    """The file's lines, unpacked if it starts like a gzip file."""
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    return cast(BinaryIO, gzip.open(file)) if magic == b"\x1f\x8b" else file


def log_from_lines(lines: Iterable[bytes], *, source: str = "the event log") -> EventLog:
    """The log made of these lines of JSON; shards come from `shardIndex` (1 where there is none, as on Hubble).

    Events of a shard may come in any order. Raises ConfigError for a line that is not an event and for an id that
    occurs twice with different bytes; a line repeated byte for byte is taken once.
    """
    rows: dict[int, list[tuple[int, bytes]]] = {}
    arrival: dict[tuple[int, int], None] = {}
    for number, line in enumerate(lines, start=1):
        raw = line.rstrip()
        if not raw:
            continue
        try:
            head = _HEAD.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{source}, line {number}: not a hub event: {error}", hint="each line is the JSON of one HubEvent"
            ) from error
        shard = head.shardIndex or 1
        rows.setdefault(shard, []).append((head.id, raw))
        arrival[shard, height_of(head.id)] = None
    log = EventLog()
    blocks = {shard: _blocks(_in_order(shard, events, source)) for shard, events in sorted(rows.items())}
    for shard in sorted(rows):
        log.shard(shard)
    for shard, _ in arrival:
        log.append(shard, next(blocks[shard]))
    return log


def _in_order(shard: int, rows: list[tuple[int, bytes]], source: str) -> list[tuple[int, bytes]]:
    """Rows by id, exact repetitions once."""
    if all(rows[i][0] < rows[i + 1][0] for i in range(len(rows) - 1)):
        return rows
    unique: dict[int, bytes] = {}
    for event_id, raw in rows:
        if unique.setdefault(event_id, raw) != raw:
            raise ConfigError(
                f"{source}: event {event_id} of shard {shard} occurs twice with different content",
                hint="an event id is unique within its shard",
            )
    return sorted(unique.items())


def _blocks(rows: list[tuple[int, bytes]]) -> Iterator[Block]:
    """Cut rows in id order at the heights inside their ids."""
    ids = [event_id for event_id, _ in rows]
    start = 0
    while start < len(rows):
        height = height_of(ids[start])
        end = bisect_right(ids, first_event_id(height + 1) - 1, start)
        yield block_of(height, ids[start:end], [raw for _, raw in rows[start:end]])
        start = end


def block_of(height: int, event_ids: Sequence[int], raws: Sequence[bytes]) -> Block:
    """A block of these events, its time read from its BLOCK_CONFIRMED."""
    first = _HEAD.decode(raws[0])
    unix_seconds = first.blockConfirmedBody.timestamp + FARCASTER_EPOCH_UNIX if first.blockConfirmedBody else None
    registrations = sum(1 for raw in raws if REGISTERED.search(raw))
    return Block(height, list(event_ids), list(raws), unix_seconds, registrations)


_CLAIM: Final = re.compile(rb'"(?:timestamp|blockTimestamp)":(\d{1,10})[,}]')


def newest_claim(raw: bytes) -> int:
    """The newest time anywhere in the event as unix seconds: Farcaster seconds are told by being small (hub-api T5)."""
    times = (int(digits) for digits in _CLAIM.findall(raw))
    return max((t if t >= FARCASTER_EPOCH_UNIX else t + FARCASTER_EPOCH_UNIX for t in times), default=0)
