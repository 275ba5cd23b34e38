"""fc_pipeline keeps a Postgres replica of the Farcaster network, run by Dagster."""

import os
from importlib import import_module
from typing import Any, Final

# Arrow reads this when it is first used. Its other pools keep what micro-batches have freed: measured on catching up,
# twice the memory, and more CPU.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

_OF_DAGSTER: Final = {
    "FarcasterReplica": "fc_pipeline.component",
    "build_defs": "fc_pipeline.definitions",
    "ReplicaResource": "fc_pipeline.orchestration.resources",
}
"""What is offered to somebody else's definitions. Imported when it is asked for: the other rooms know no Dagster."""


def __getattr__(name: str) -> Any:
    """One of these."""
    if name in _OF_DAGSTER:
        return getattr(import_module(_OF_DAGSTER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """`dg` looks here for components."""
    return sorted({*globals(), *_OF_DAGSTER})
