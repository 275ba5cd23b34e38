"""The raw log compared with the ledger: files that are missing, truncated or changed, from one listing of the lake."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from fc_pipeline.feed.lost_log import LostLog
from fc_pipeline.heights import HeightRange, without
from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import LogFile
from fc_pipeline.replica import Replica

__all__ = ["READ_BYTES", "LogFindings", "find_lost_log"]

READ_BYTES: Final = 256 * 2**20
"""How much of the log is read, newest finished hours first, to verify checksums."""
READ_FILES: Final = 500
"""In an object store each file is a request; hours that are over have one file per shard."""
LISTED_LATE_SECONDS: Final = 2.0

_COVERED: Final = sa.text("""
    SELECT shard, partition, lower(heights) AS first, upper(heights) - 1 AS last FROM (
      SELECT shard, partition, unnest(range_agg(int8range(from_height, to_height, '[]'))) AS heights
      FROM pipeline.coverage GROUP BY shard, partition) AS joined
    ORDER BY shard, partition, first
""")


@dataclass
class LogFindings:
    """What is lost, by hour and shard; how many files were listed, and how many of them read."""

    lost: dict[tuple[Hour, int], LostLog] = field(default_factory=dict[tuple[Hour, int], LostLog])
    files: int = 0
    files_read: int = 0


def find_lost_log(replica: Replica, *, read_bytes: int = READ_BYTES) -> LogFindings:
    """Compare the ledger with a listing of the whole raw log, and read up to `read_bytes` of it.

    Raises LakeError or OSError where the lake cannot be listed.
    """
    covered: defaultdict[tuple[Hour, int], list[HeightRange]] = defaultdict(list)
    with replica.engine.connect() as connection:
        # The ledger first: a file is written before its heights are covered.
        for row in connection.execute(_COVERED):
            covered[Hour.from_key(row.partition), row.shard].append(HeightRange(row.first, row.last))
    files: defaultdict[tuple[Hour, int], list[LogFile]] = defaultdict(list)
    listed = replica.log.all_files()
    for file in listed:
        files[file.hour, file.shard].append(file)
    problems = {file.path: problem for file in listed if (problem := file.wrong_length) is not None}
    chosen = _to_read(listed, read_bytes)
    problems |= {file.path: problem for file in chosen if (problem := replica.log.damage(file)) is not None}
    findings = LogFindings(files=len(listed), files_read=len(chosen))
    findings.lost = _all_lost(covered, files, problems)
    if any(lost.heights for lost in findings.lost.values()):
        # A file that is joined to another one just then is in no listing, nor is one that the store lists late.
        time.sleep(0.0 if replica.log.is_local else LISTED_LATE_SECONDS)
        for file in replica.log.all_files():
            if file not in files[file.hour, file.shard]:
                files[file.hour, file.shard].append(file)
                if file.wrong_length is not None:
                    problems[file.path] = file.wrong_length
        findings.lost = _all_lost(covered, files, problems)
    return findings


def _all_lost(
    covered: Mapping[tuple[Hour, int], Sequence[HeightRange]],
    files: Mapping[tuple[Hour, int], Sequence[LogFile]],
    problems: dict[str, str],
) -> dict[tuple[Hour, int], LostLog]:
    found = {place: _lost(covered.get(place, ()), files.get(place, ()), problems) for place in {*covered, *files}}
    return {place: lost for place, lost in found.items() if lost}


def _to_read(listed: Iterable[LogFile], read_bytes: int) -> list[LogFile]:
    """The newest files of hours that are over and joined, as far as the budget goes."""
    now = time.time()
    chosen: list[LogFile] = []
    for file in sorted((f for f in listed if f.hour.end_unix <= now), key=lambda f: (f.hour, f.shard), reverse=True):
        read_bytes -= file.size_bytes
        if read_bytes < 0 or len(chosen) == READ_FILES:
            break
        chosen.append(file)
    return chosen


def _lost(covered: Sequence[HeightRange], files: Sequence[LogFile], problems: dict[str, str]) -> LostLog:
    whole = [HeightRange(file.from_height, file.to_height) for file in files if file.path not in problems]
    damaged = {file: problems[file.path] for file in files if file.path in problems}
    return LostLog(without(covered, whole), damaged)
