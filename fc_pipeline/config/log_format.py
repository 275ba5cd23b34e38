"""FC_LOG_FORMAT by itself: processes log before they have settings, and where these are wrong."""

import os
from contextlib import suppress
from typing import Literal

from fc_pipeline.config.variables import read_variables
from fc_pipeline.errors import ConfigError

__all__ = ["log_format"]


def log_format() -> Literal["text", "json"]:
    """As the environment or `.env` says; text where they cannot be read or say something else."""
    with suppress(ConfigError):  # whoever loads the settings reports it
        if read_variables(os.environ, ".env").get("FC_LOG_FORMAT") == "json":
            return "json"
    return "text"
