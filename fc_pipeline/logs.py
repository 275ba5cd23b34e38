"""Where log lines go: stderr, one structured line each. Dagster shows a run's stderr with the run."""

import logging
import sys

__all__ = ["configure_logging"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure_logging(level: int = logging.INFO) -> None:
    """Send the pipeline's log lines to stderr; calling it again changes nothing but the level."""
    logger = logging.getLogger("fc_pipeline")
    logger.setLevel(level)
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(handler)
