"""Where log lines go: stderr, one structured line each. Dagster shows a run's stderr with the run."""

import logging
import sys
from typing import Final, Literal

from fc_pipeline.json_lines import JsonFormatter
from fc_pipeline.plain_text import plain

__all__ = ["LogFormat", "PlainFormatter", "configure_logging", "formatter_of"]

LogFormat = Literal["text", "json"]
"""FC_LOG_FORMAT."""

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class PlainFormatter(logging.Formatter):
    """Lines that a terminal shows and does not obey, whatever a hub or a user has put into them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback."""
        return plain(super().format(record))


def formatter_of(log_format: LogFormat, text_format: str = _FORMAT) -> logging.Formatter:
    """What writes lines in this format; of text, in this form."""
    return JsonFormatter() if log_format == "json" else PlainFormatter(text_format)


def configure_logging(log_format: LogFormat = "text", level: int = logging.INFO) -> None:
    """Send the pipeline's log lines to stderr; calling it again changes nothing but the level."""
    logger = logging.getLogger("fc_pipeline")
    logger.setLevel(level)
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter_of(log_format))
        logger.addHandler(handler)
