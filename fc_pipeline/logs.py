"""Where log lines go: stderr, one structured line each. Dagster shows a run's stderr with the run."""

import logging
import sys

from fc_pipeline.plain_text import plain

__all__ = ["PlainFormatter", "configure_logging"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class PlainFormatter(logging.Formatter):
    """Lines that a terminal shows and does not obey, whatever a hub or a user has put into them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback."""
        return plain(super().format(record))


def configure_logging(level: int = logging.INFO) -> None:
    """Send the pipeline's log lines to stderr; calling it again changes nothing but the level."""
    logger = logging.getLogger("fc_pipeline")
    logger.setLevel(level)
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(PlainFormatter(_FORMAT))
        logger.addHandler(handler)
