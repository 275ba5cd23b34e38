"""Audits: which buckets are compared next."""

import math
from datetime import UTC, datetime

import sqlalchemy as sa

from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.replica import Replica
from fc_pipeline.store.bookkeeping import SNAPSHOT_ROUNDS
from fc_pipeline.store.snapshot_ledger import ALL_FIDS

__all__ = ["next_buckets"]

_NEVER = datetime.min.replace(tzinfo=UTC)


def next_buckets(replica: Replica, days: int) -> range:
    """The adjacent buckets for one day, from the one that has waited longest, so that all are covered in so many days.

    A bucket is covered when a round over all of its users is finished.
    """
    rounds = SNAPSHOT_ROUNDS.c
    query = sa.select(rounds.bucket, sa.func.max(rounds.started_at))
    finished = query.where(rounds.scope == ALL_FIDS, rounds.finished_at.is_not(None)).group_by(rounds.bucket)
    with replica.engine.connect() as connection:
        last: dict[int, datetime] = {row[0]: row[1] for row in connection.execute(finished)}
    first = min(range(BUCKETS), key=lambda bucket: (last.get(bucket, _NEVER), bucket))
    return range(first, min(BUCKETS, first + math.ceil(BUCKETS / days)))
