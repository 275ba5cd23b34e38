"""The job that fills an empty replica from a node's files: what `fc-pipeline bootstrap` and the UI's launchpad run."""

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

from dagster import AssetMaterialization, Config, OpExecutionContext, job, op
from pydantic import Field

from fc_pipeline.backfill.bulk_fold import BulkFold
from fc_pipeline.bootstrap.archives import unpack_all
from fc_pipeline.bootstrap.run import Bootstrap, Loaded
from fc_pipeline.bulk_load.progress import Stopped
from fc_pipeline.errors import ConfigError, ServiceError
from fc_pipeline.node_db.archive_source import ArchiveSource
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.orchestration.jobs import LONG_RUN_TAGS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.replica import Replica
from fc_pipeline.status.row_counts import live_rows
from fc_pipeline.tables.registry import LISTED_TABLES

__all__ = ["BOOTSTRAP", "BootstrapConfig", "load_node_files"]


class BootstrapConfig(Config):
    """Which files, and by how many processes."""

    node_db: str | None = Field(
        default=None, description="The folder with the databases shard-1, shard-2, …: a node's rocksdb_dir."
    )
    snapshot: str | None = Field(
        default=None, description="Or where archives of them are published: an address, or a folder."
    )
    lake: bool = Field(default=False, description="Or the snapshots of users that the lake has (fid_snapshots).")
    network: str = Field(default="mainnet", description="Whose archives: mainnet, testnet or devnet.")
    workers: int = Field(default=2, ge=1, le=64, description="So many processes read and load side by side.")


@op(description="Load a node's database files into the empty tables, prove them, and hand over to the feed.")
@failing_step()
def load_node_files(context: OpExecutionContext, replica: ReplicaResource, config: BootstrapConfig) -> dict[str, Any]:
    """Returns per shard the height and how many leaves were proved, and how long it took."""
    with interruptible() as interruption, replica.open(need_hub=False) as opened:
        try:
            loaded = _load(opened, config, context.run.run_id, interruption.is_requested)
        except Stopped:
            interruption.end_run(context)
            raise ServiceError(
                "the bootstrap was stopped", hint="the same command goes on where it was cut short"
            ) from None
        with opened.engine.connect() as connection:
            for name, table in LISTED_TABLES.items():
                metadata = {"dagster/row_count": live_rows(connection, table)}
                context.log_event(AssetMaterialization(replica.names.key(name), metadata=metadata))
    figures = _figures(loaded)
    context.add_output_metadata({name: str(figure) for name, figure in figures.items()})
    return figures


def _load(replica: Replica, config: BootstrapConfig, run_id: str, should_stop: Callable[[], bool]) -> Loaded:
    if sum((config.node_db is not None, config.snapshot is not None, config.lake)) != 1:
        raise ConfigError("a bootstrap takes one of node_db, snapshot and lake", hint="fc-pipeline bootstrap --help")
    if config.lake:
        return Loaded((), (), BulkFold(replica, run_id, config.workers, should_stop).execute())
    if config.node_db is not None:
        return Bootstrap(replica, Path(config.node_db), run_id, config.workers, should_stop).execute()
    source = ArchiveSource(config.snapshot or "", config.network)
    unpacked = unpack_all(source, replica.settings.data_dir, should_stop)
    loaded = Bootstrap(replica, unpacked, run_id, config.workers, should_stop).execute()
    rmtree(unpacked)
    return loaded


def _figures(loaded: Loaded) -> dict[str, Any]:
    return {
        "heights": {one.shard: one.height for one in loaded.shards},
        "leaves": {one.shard: leaves for one, leaves in zip(loaded.shards, loaded.leaves, strict=True)},
        "unproved_by_header": list(loaded.unproved_by_header),
        "seconds": round(loaded.seconds, 1),
    }


@job(
    name="bootstrap",
    tags=LONG_RUN_TAGS,
    description="Fill an empty replica from a Snapchain node's own files (docs/bootstrap.md).",
)
def BOOTSTRAP() -> None:  # noqa: N802 - a job is a constant of the code location
    """One step."""
    load_node_files()
