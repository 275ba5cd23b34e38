"""A bootstrap in processes of its own, which can be killed: `python -m fc_pipeline_tests.support.bootstrap_process`."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.config.settings import Settings
from fc_pipeline.replica import open_replica

__all__ = ["killed_at"]


def killed_at(stage: str, url: str, lake: Path, node: Path, leaves_per_part: int) -> bool:
    """Start a bootstrap with two workers and kill all its processes once it enters a stage; whether it came so far."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, url, str(lake), str(node), str(leaves_per_part)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == stage:
                os.killpg(process.pid, signal.SIGKILL)
                return True
    return False


def main(url: str, lake: str, node: str, leaves_per_part: str) -> None:
    """Bootstrap, and print each stage that is entered."""

    class Stages(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found = getattr(record, "load_progress", None)
            if found is not None and (found.progress is None or 0 < found.progress.parts_done < found.progress.parts):
                # In the midst of a stage with parts, or where one without begins.
                print(found.stage if found.progress is None else f"{found.stage} midway", flush=True)

    log = logging.getLogger("fc_pipeline.bulk_load.stages")
    log.addHandler(Stages())
    log.setLevel(logging.DEBUG)
    settings = Settings(data_dir=Path(lake).parent, lake_uri=lake, postgres_url=url, hub_urls=("http://127.0.0.1:9",))
    with open_replica(settings) as replica:
        Bootstrap(replica, Path(node), "killed", 2, leaves_per_part=int(leaves_per_part)).execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
