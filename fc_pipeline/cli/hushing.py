"""What Dagster warns of and what is no user's concern: that we use what it calls a preview or beta."""

import warnings

__all__ = ["hush_dagster"]


def hush_dagster() -> None:
    """Say nothing of it from now on: using it is our choice, not the user's."""
    warnings.filterwarnings("ignore", module="fc_pipeline")
    for said in ("not considered ready for production use", "is currently in beta"):
        warnings.filterwarnings("ignore", message=f"(?s).*{said}")
