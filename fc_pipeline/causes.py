"""What a failure came from, for a person: any exception as one of our few errors, with its cause and a remedy.

It is applied where a failure leaves us: at the command line, in Dagster's steps, ticks and checks, and where Dagster
opens its storage.
"""

import errno
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import Final

from fc_pipeline.errors import (
    AlreadyFolded,
    ConfigError,
    FcPipelineError,
    HubError,
    HubRefused,
    HubUnavailable,
    LakeError,
    LeaseLost,
    PostgresError,
    ServiceError,
    UnexpectedError,
)
from fc_pipeline.lake.store_errors import NO_SYSTEM_HINT, SYSTEM_HINTS, store_hint
from fc_pipeline.plain_text import one_line
from fc_pipeline.printed_commands import runnable

__all__ = ["cause_of"]


_CONSEQUENCES: Final = (LeaseLost, AlreadyFolded)
"""Follow-up errors of a task whose sibling failed: reported only if there is no other cause."""


def cause_of(error: BaseException) -> FcPipelineError:
    """The error of ours that says what `error` came from: itself, one that it wraps, or a new one caused by it.

    Groups give their most telling member. Of what this release does not know, UnexpectedError. It always has a hint.
    """
    cause = _cause_of(error)
    for kind in type(cause).__mro__:
        cause.hint = cause.hint or _REMEDIES.get(kind)
    cause.hint = runnable(cause.hint) if cause.hint else None
    return cause


def _cause_of(error: BaseException) -> FcPipelineError:
    found = list(_unwrapped(error))
    ours = [one for one in found if isinstance(one, FcPipelineError)]
    for one in ours:
        if not isinstance(one, _CONSEQUENCES):
            return one
    for one in found:
        if isinstance(one, FcPipelineError):
            continue
        cause = _from_driver_error(one)
        if cause is not None:
            return _caused_by(cause, one)
    return ours[0] if ours else _unexpected(found[0] if found else error)


def _unwrapped(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it wraps, outermost first; groups and Dagster's wrappers are left out."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen or isinstance(one, CancelledError):
            continue
        seen.add(id(one))
        wrapped: list[BaseException] = []
        if isinstance(one, BaseExceptionGroup):
            wrapped += one.exceptions  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
        elif not isinstance(getattr(one, "user_exception", None), BaseException):
            yield one
        if one.__cause__ is not None:
            wrapped.append(one.__cause__)
        waiting = [*wrapped, *waiting]


def _caused_by(cause: FcPipelineError, error: BaseException) -> FcPipelineError:
    cause.__cause__ = error
    return cause


def _unexpected(error: BaseException) -> FcPipelineError:
    reason = one_line(error)
    cause = UnexpectedError(
        f"{type(error).__name__}: {reason}" if reason else type(error).__name__,
        hint="fc_pipeline did not expect this: please report it with its traceback (fc-pipeline --debug, or below in "
        "the Dagster UI)",
    )
    return _caused_by(cause, error)


def _from_driver_error(error: BaseException) -> FcPipelineError | None:
    for kind in type(error).__mro__:
        translate = _DRIVERS.get(kind.__module__.partition(".")[0])
        cause = translate(error) if translate is not None else None
        if cause is not None:
            return cause
    return None


def _postgres(error: BaseException) -> FcPipelineError | None:
    from fc_pipeline.store.retry import explained, is_of_postgres  # what raised it has imported the drivers

    return explained(error) if is_of_postgres(error) else None


def _arrow(error: BaseException) -> FcPipelineError | None:
    if isinstance(error, OSError):
        return _system(error)
    return LakeError(f"Arrow: {one_line(error)}", hint="is a file of the lake damaged? See FC_LAKE_URI")


def _object_store(error: BaseException) -> FcPipelineError:
    return LakeError(f"the lake's store: {one_line(error)}", hint=store_hint(str(error)))


def _hub(error: BaseException) -> FcPipelineError:
    reason = f"{type(error).__name__}: {one_line(error)}" if str(error) else type(error).__name__
    return HubUnavailable(f"no answer of the hub ({reason})", hint="is FC_HUB_URLS right and the hub up?")


def _redis(error: BaseException) -> FcPipelineError:
    reason = f"{type(error).__name__}: {one_line(error)}" if str(error) else type(error).__name__
    return ServiceError(f"Redis: {reason}", hint="is FC_REDIS_URL right and the server up?")


def _migrations(error: BaseException) -> FcPipelineError:
    return PostgresError(
        f"the database cannot be migrated: {one_line(error)}",
        hint="which release made its tables says pipeline.alembic_version; FC_POSTGRES_URL may name another database",
    )


def _dagster(error: BaseException) -> FcPipelineError | None:
    if error.__cause__ is not None and type(error).__name__ != "Failure":
        return None  # its cause says more
    reason = one_line(getattr(error, "description", None) or error)
    if type(error).__module__.startswith("dagster_postgres"):
        return PostgresError(f"Dagster's storage: {reason}", hint="is Postgres up, and can it be reached?")
    return ServiceError(f"Dagster: {reason}", hint="the whole log of the run or tick is in the Dagster UI")


def _processes(error: BaseException) -> FcPipelineError:
    return ServiceError(f"a process of ours: {one_line(error)}", hint="it may have just ended: try again")


def _python(error: BaseException) -> FcPipelineError | None:
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, MemoryError):
        return ServiceError("out of memory", hint="lower FC_BATCH_EVENTS, or give the process more memory")
    if isinstance(error, ImportError) and (error.name or "").startswith("fc_pipeline."):
        return ConfigError(
            f"there is no module {error.name}: dagster.yaml in DAGSTER_HOME was written by another release",
            hint="`fc-pipeline init` in that folder updates it",
        )
    if isinstance(error, ImportError):
        return ConfigError(
            f"a package is missing: {one_line(error)}", hint="install fc_pipeline again with all it depends on"
        )
    return None


def _system(error: OSError) -> FcPipelineError:
    """Disks, folders and sockets. Arrow's errors of an object store are such, too, with its words but no number."""
    reason = one_line(error) or type(error).__name__
    if error.errno is None and not isinstance(error, TimeoutError):
        return LakeError(f"the lake's store: {reason}", hint=store_hint(str(error)))
    return ServiceError(reason, hint=SYSTEM_HINTS.get(error.errno or errno.ETIMEDOUT, NO_SYSTEM_HINT))


_REMEDIES: Final[dict[type, str]] = {
    HubUnavailable: "is FC_HUB_URLS right, and the hub up?",
    HubRefused: "does FC_HUB_URLS name a hub of this network, in a release that this one knows?",
    HubError: "see the hub's log, or name another hub in FC_HUB_URLS",
    LakeError: "see FC_LAKE_URI and what it names",
    LeaseLost: "another run goes on with it: nothing is lost",
    AlreadyFolded: "another run was quicker: nothing is lost",
    PostgresError: "see Postgres' log",
    ConfigError: "README.md lists every setting",
    FcPipelineError: "`fc-pipeline --debug` shows more; what runs say is in the Dagster UI and in the logs of the data "
    "folder",
}
"""Of our own errors, where they have none."""
_DRIVERS: Final[dict[str, Callable[[BaseException], FcPipelineError | None]]] = {
    "adbc_driver_manager": _postgres,
    "sqlalchemy": _postgres,
    "psycopg2": _postgres,
    "pyarrow": _arrow,
    "botocore": _object_store,
    "aiobotocore": _object_store,
    "s3fs": _object_store,
    "gcsfs": _object_store,
    "adlfs": _object_store,
    "fsspec": _object_store,
    "aiohttp": _hub,
    "redis": _redis,
    "alembic": _migrations,
    "dagster": _dagster,
    "dagster_postgres": _dagster,
    "dagster_shared": _dagster,
    "psutil": _processes,
    "builtins": _python,
}
"""By the package that a class of exception is from, and its bases."""
