"""What a worker of a round over buckets does: run after run over buckets that nobody else is at."""

from collections.abc import Generator
from typing import Final

from dagster import DagsterInstance
from sqlalchemy.pool import NullPool

from fc_pipeline.backfill.progress import BackfillOutcome
from fc_pipeline.backfill.shared_round import BucketClaims
from fc_pipeline.cli.in_process import run_over_partitions
from fc_pipeline.config.project import dagster_home
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import FcPipelineError
from fc_pipeline.lake.snapshot_log import bucket_key
from fc_pipeline.orchestration.assets.snapshots import BackfillConfig, fid_tables
from fc_pipeline.orchestration.jobs import SNAPSHOTS
from fc_pipeline.services import open_services_for_process
from fc_pipeline.store.fid_listings import Listing
from fc_pipeline.store.session import make_engine

__all__ = ["backfill_here", "runs_of_round"]

MAX_FAILED_RUNS: Final = 3
"""After so many runs of a worker that fail one after another it ends: the next ones would, too."""


def backfill_here(listing: Listing) -> BackfillOutcome:
    """Do what is left of the round in this process. Raises the first error of its runs when all are done."""
    done, failures = BackfillOutcome(), list[FcPipelineError]()
    for one in runs_of_round(listing, len(listing.buckets)):
        if isinstance(one, BackfillOutcome):
            done += one
        else:
            failures.append(one)
    if failures:
        raise failures[0]
    return done


def runs_of_round(listing: Listing, buckets_per_run: int) -> Generator[BackfillOutcome | FcPipelineError]:
    """Run after run over buckets that nobody else does, until none is left; the outcome or the error of each."""
    failed = 0
    settings = open_services_for_process(Settings.load(), need_hub=False, need_redis=False)
    engine = make_engine(settings.libpq_url(), poolclass=NullPool)
    with (
        DagsterInstance.from_config(str(dagster_home())) as instance,
        BucketClaims(engine, listing) as claims,
    ):
        while failed < MAX_FAILED_RUNS and (buckets := claims.claim(buckets_per_run)):
            config = BackfillConfig(round_name=listing.name or "")
            first, last = bucket_key(buckets[0]), bucket_key(buckets[-1])
            try:
                figures = run_over_partitions(instance, SNAPSHOTS.name, fid_tables.op.name, config, first, last)
            except FcPipelineError as error:
                failed += 1
                yield error
            else:
                failed = 0
                claims.release()
                yield BackfillOutcome.of_figures(figures)
