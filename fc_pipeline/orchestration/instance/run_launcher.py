"""Dagster's default launcher, whose runs carry the name of the `up` that launched them."""

import os
import socket

from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import LaunchRunContext

from fc_pipeline.orchestration.instance.instances import INSTANCE_TAG, INSTANCE_VARIABLE, machine_of, place_of

__all__ = ["PipelineRunLauncher"]


class PipelineRunLauncher(DefaultRunLauncher):
    """Named in dagster.yaml."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run's process through this machine's code server."""
        instance = os.environ.get(INSTANCE_VARIABLE)
        if instance:  # none under `dagster dev`
            self._instance.add_run_tags(context.dagster_run.run_id, {INSTANCE_TAG: instance})
        super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Ask the run to end; a run on another machine cannot be reached from here, and its log names the machine."""
        run = self._instance.get_run_by_id(run_id)
        launched_by = run.tags.get(INSTANCE_TAG) if run and not run.is_finished else None
        if run and launched_by and machine_of(launched_by) != socket.gethostname():
            self._instance.report_engine_event(
                f"It runs on another machine ({place_of(launched_by)}): terminate it in the UI there.", run
            )
            return False
        return super().terminate(run_id)
