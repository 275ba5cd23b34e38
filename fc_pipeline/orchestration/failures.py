"""What Dagster shows of a failed step or tick: first one line with cause and remedy, below it the traceback.

Dagster wraps what a step or a tick raises in an error of its own that names the function and nothing else, unless it is
a Failure there and a DagsterError here.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from dagster import DagsterError, Failure, MetadataValue, RetryRequested
from dagster._core.execution.plan.objects import StepFailureData

from fc_pipeline.causes import cause_of
from fc_pipeline.errors import ConfigError, FcPipelineError, ServiceError, UnexpectedError
from fc_pipeline.plain_text import one_line

__all__ = ["TickFailed", "failing_step", "failing_tick", "failure_of_step", "remedied"]

_KIND: Final = "kind"
_CAUSE: Final = "cause"
_REMEDY: Final = "remedy"


class TickFailed(DagsterError):
    """A tick of a sensor or schedule failed; the message has cause and remedy."""


@contextmanager
def failing_step() -> Generator[None]:
    """Wraps an asset, an op or a check: its failure names cause and remedy. Also a decorator."""
    try:
        yield
    except (Failure, RetryRequested):
        raise
    except Exception as error:
        cause = cause_of(error)
        metadata = {_KIND: type(cause).__name__, _CAUSE: cause.message} | ({_REMEDY: cause.hint} if cause.hint else {})
        raise Failure(str(cause), metadata) from cause


@contextmanager
def failing_tick() -> Generator[None]:
    """The same for a sensor or a schedule."""
    try:
        yield
    except Exception as error:
        cause = cause_of(error)
        raise TickFailed(str(cause)) from cause


def remedied(error: Failure | TickFailed, told: Callable[[str], str]) -> Failure | TickFailed:
    """The same failure in other words."""
    if isinstance(error, TickFailed):
        return TickFailed(told(str(error)))
    metadata = dict(error.metadata)
    if _REMEDY in metadata:
        metadata[_REMEDY] = MetadataValue.text(told(str(metadata[_REMEDY].value)))
    return Failure(told(error.description or ""), metadata, error.allow_retries)


def failure_of_step(data: StepFailureData) -> FcPipelineError:
    """What a step failed with, from its failure event: ConfigError if it was one, else another of our errors."""
    failure = data.user_failure_data
    if failure is not None and _CAUSE in failure.metadata:
        kind = ConfigError if _value(failure.metadata, _KIND) == ConfigError.__name__ else ServiceError
        return kind(_value(failure.metadata, _CAUSE) or "", hint=_value(failure.metadata, _REMEDY))
    if failure is not None and failure.description:
        return ServiceError(failure.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return UnexpectedError(one_line(error.message) if error else "the step did not say why it failed")


def _value(metadata: Mapping[str, MetadataValue[Any]], name: str) -> str | None:
    return str(metadata[name].value) if name in metadata else None
