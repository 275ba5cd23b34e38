"""The command line `fc-pipeline`: one file per command, each thin.

Our errors are one readable line on stderr, with a hint; the exit code is 1, or 2 where the configuration or the
arguments are wrong.
"""

from fc_pipeline.cli.main import main

__all__ = ["main"]
