"""What Dagster shows of a failed step or tick: first a line of ours with cause and remedy, below it the traceback.

Dagster wraps what a step or a tick raises in an error of its own that names the function and nothing else, unless it is
a Failure there and a DagsterError here.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from dagster import DagsterError, Failure, MetadataValue, RetryRequested
from dagster._core.execution.plan.objects import StepFailureData

from fc_pipeline.causes import cause_of
from fc_pipeline.errors import ConfigError, FcPipelineError, ServiceError, UnexpectedError
from fc_pipeline.plain_text import one_line

__all__ = ["TickFailed", "failing_step", "failing_tick", "failure_of_step"]

_KIND: Final = "kind"
_CAUSE: Final = "cause"
_REMEDY: Final = "remedy"


class TickFailed(DagsterError):
    """A tick of a sensor or schedule failed; the message has cause and remedy."""


@contextmanager
def failing_step() -> Generator[None]:
    """Around what an asset, an op or a check does: its failure becomes one that tells. Also a decorator."""
    try:
        yield
    except (Failure, RetryRequested):
        raise
    except Exception as error:
        told = cause_of(error)
        metadata = {_KIND: type(told).__name__, _CAUSE: told.message} | ({_REMEDY: told.hint} if told.hint else {})
        raise Failure(str(told), metadata) from told


@contextmanager
def failing_tick() -> Generator[None]:
    """The same around what a sensor or a schedule does."""
    try:
        yield
    except Exception as error:
        told = cause_of(error)
        raise TickFailed(str(told)) from told


def failure_of_step(data: StepFailureData) -> FcPipelineError:
    """What a step failed with, from the event of its failure: ConfigError if that was one, else another one of ours."""
    said = data.user_failure_data
    if said is not None and _CAUSE in said.metadata:
        kind = ConfigError if _value(said.metadata, _KIND) == ConfigError.__name__ else ServiceError
        return kind(_value(said.metadata, _CAUSE) or "", hint=_value(said.metadata, _REMEDY))
    if said is not None and said.description:
        return ServiceError(said.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return UnexpectedError(one_line(error.message) if error else "the step did not say why it failed")


def _value(metadata: Mapping[str, MetadataValue[Any]], name: str) -> str | None:
    return str(metadata[name].value) if name in metadata else None
