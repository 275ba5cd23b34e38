"""How far a load is, as its log tells whoever shows it, and that it was asked to stop."""

from dataclasses import dataclass

from fc_pipeline.store.bulk_load import LoadProgress

__all__ = ["LoadStep", "Stopped"]


class Stopped(Exception):
    """It was asked to stop, and did so between two parts."""


@dataclass(frozen=True, slots=True)
class LoadStep:
    """Which stage is under way, and how far it is; None of a stage without parts."""

    stage: str
    progress: LoadProgress | None = None
