"""A sensor's attempts at unfinished work: how many, when last, and whether to request it again."""

from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

__all__ = ["Attempt", "Attempts"]

FIRST_RETRY_SECONDS = 15.0
MAX_RETRY_SECONDS = 600.0


@dataclass(frozen=True)
class Attempt:
    """How often an hour was requested without becoming complete, and when last (unix seconds)."""

    count: int
    last_unix: float

    def is_due(self, now: float) -> bool:
        """Whether to request it again, with exponential backoff: a hole that a run could not fill stays for a while."""
        wait = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self.count - 1, 20))
        return now - self.last_unix >= wait


_MAX_COUNTED: Final = 10


@dataclass(frozen=True)
class Attempts:
    """The newest runs of a job: how many of them failed since the last that did not, and when the newest one ended."""

    failures: int
    ended_unix: float | None

    @classmethod
    def of(cls, instance: DagsterInstance, job: str) -> "Attempts":
        """What the instance's run storage says."""
        newest = instance.get_run_records(RunsFilter(job_name=job), limit=_MAX_COUNTED)
        ends = [record.end_time or record.create_timestamp.timestamp() for record in newest]
        failed = takewhile(lambda record: record.dagster_run.status == DagsterRunStatus.FAILURE, newest)
        return cls(sum(1 for _ in failed), ends[0] if ends else None)

    def reason_to_wait(self, now: float) -> str | None:
        """Why no other run is launched yet (unix seconds); None if nothing failed, or the next attempt is due."""
        if self.ended_unix is None or not self.failures or Attempt(self.failures, self.ended_unix).is_due(now):
            return None
        return f"the last {self.failures} runs failed: waiting before the next attempt"
