"""Whether an `up` may lead on its Postgres: one whose hub is of another network could only keep away who can follow."""

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError, FcPipelineError, HubError, LakeError, SchemaMissing
from fc_pipeline.feed.continuity import other_history
from fc_pipeline.replica import open_replica_to_read
from fc_pipeline.services.opening import with_running

__all__ = ["leadership_error"]


def leadership_error(settings: Settings, known: FcPipelineError | None = None) -> FcPipelineError | None:
    """Why this `up` must not lead; None if it may. If no hub answers, the error `known` before holds.

    The hubs of the settings, or the sample hub that runs, are asked whether they go on from what was read. Raises
    PostgresError where Postgres cannot be asked.
    """
    settings = with_running(settings)
    if not settings.hub_urls:
        return known
    try:
        with open_replica_to_read(settings, may_be_empty=True) as replica:
            return other_history(replica)
    except SchemaMissing:
        return None
    except (HubError, LakeError):
        return known
    except ConfigError as error:
        return error
