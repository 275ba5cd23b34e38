"""All checks, for the code location, the job that runs them, and runs that report results of their assets."""

from collections.abc import Iterable

from dagster import AssetCheckKey, AssetChecksDefinition

from fc_pipeline.orchestration.checks.counts import count_checks
from fc_pipeline.orchestration.checks.drift import no_drift
from fc_pipeline.orchestration.checks.keys import key_checks
from fc_pipeline.orchestration.checks.message_proofs import message_proofs
from fc_pipeline.orchestration.checks.raw_log import raw_log_checks
from fc_pipeline.orchestration.checks.rows import row_checks
from fc_pipeline.orchestration.checks.state_root import state_root
from fc_pipeline.orchestration.checks.targets import target_checks

__all__ = ["ALL_CHECKS", "keys_of"]

ALL_CHECKS: tuple[AssetChecksDefinition, ...] = (
    raw_log_checks,
    key_checks,
    row_checks,
    count_checks,
    no_drift,
    state_root,
    message_proofs,
    target_checks,
)
"""None has partitions: each evaluates its asset as a whole."""


def keys_of(assets: Iterable[str]) -> list[AssetCheckKey]:
    """The checks of these assets."""
    wanted = set(assets)
    return [key for checks in ALL_CHECKS for key in checks.check_keys if key.asset_key.to_user_string() in wanted]
