"""The few kinds of error that fc_pipeline raises on purpose.

Each carries a message that names the thing and, where there is one, a hint that says what to do. The command line
prints both on one line each, without a traceback; Dagster shows them in the run's failure.
"""

__all__ = [
    "AlreadyFolded",
    "ConfigError",
    "FcPipelineError",
    "HubBehind",
    "HubError",
    "HubRefused",
    "HubUnavailable",
    "HubUntrusted",
    "LakeError",
    "LakeUnreachable",
    "LeaseLost",
    "LoadUnderWay",
    "NodeDatabaseError",
    "NothingYet",
    "OtherHistory",
    "PostgresError",
    "SchemaMissing",
    "ServiceError",
    "SessionLost",
    "UnexpectedError",
]


class FcPipelineError(Exception):
    """Base of all errors of fc_pipeline: a message, and a hint with the remedy."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(FcPipelineError):
    """A setting is missing or wrong; the message names the variable."""


class HubError(FcPipelineError):
    """A hub did not give what was asked; the message names the hub, the request and what came back."""


class HubUnavailable(HubError):
    """The hub did not answer, or answered 429 or 5xx, until the retries were used up."""


class HubRefused(HubError):
    """The hub says that the request is wrong or the thing unknown (hub-api 1.3: always 400): not worth a retry."""

    def __init__(self, message: str, *, hint: str | None = None, detail: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.detail = detail


class HubUntrusted(HubError):
    """The hub answers, but is stale, behind what was already folded, or serves other shards: it is not followed."""


class OtherHistory(HubUntrusted):
    """The hub is of another network than what was read, or was reset: waiting for it is of no use."""


class HubBehind(HubUntrusted):
    """The hub, or the node of it that answers, is a little behind what was already read: worth waiting for.

    `height` is how far it has come.
    """

    def __init__(self, message: str, *, height: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.height = height


class LakeError(FcPipelineError):
    """The raw log or a snapshot lacks or cannot read what was asked for."""


class LakeUnreachable(LakeError):
    """The lake's store does not answer, or does not let us in: of the file itself nothing is known."""


class LoadUnderWay(FcPipelineError):
    """Tables are being loaded in bulk: nothing else may write them until that is at its end."""


class NodeDatabaseError(FcPipelineError):
    """A node's database files cannot be read, are not whole, or are not what their block header says."""


class LeaseLost(FcPipelineError):
    """Another run holds the lease on this shard and hour: nothing of the micro-batch was written."""


class AlreadyFolded(FcPipelineError):
    """Some of the heights came into the ledger meanwhile: nothing was written, read the ledger again."""


class PostgresError(FcPipelineError):
    """Postgres did not do what was asked, also not after a while; the message has its words and the SQLSTATE."""


class SchemaMissing(PostgresError):
    """The database lacks tables of ours, or has them as an older release made them, and who asks may only read."""


class NothingYet(SchemaMissing):
    """There is no table of ours at all: nothing that writes has come by."""


class SessionLost(LeaseLost):
    """The Postgres session of a run is gone, and what it had not committed: others may take its leases."""


class ServiceError(FcPipelineError):
    """An embedded server or the sample hub could not be started or stopped."""


class UnexpectedError(FcPipelineError):
    """None of these: an exception that nothing here expects, most likely a defect; the message names its type."""
