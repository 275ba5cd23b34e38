"""Check results that a run reports by itself, so that the UI shows them although the run goes on materialising.

Dagster shows a check as evaluated only if its newest result is of the run of the asset's newest materialisation, or
came after that. A run that follows the feed materialises every asset again and again: results of other runs, such as a
check that a user executes meanwhile, would be outdated within a minute. So a run that materialises repeats the newest
result of each check afterwards. Within a run a result is one row that is overwritten; after another run's row it must
be a new one, and only a result without a run is.
"""

from collections.abc import Iterable, Sequence

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckResult,
    AssetExecutionContext,
    EventLogRecord,
    OpExecutionContext,
)
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as _EVALUATED,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from fc_pipeline.orchestration.checks.catalog import keys_of
from fc_pipeline.orchestration.checks.newest import newest_evaluated
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.remedies import remedy_in

__all__ = ["CheckReporter", "evaluation_of"]


def evaluation_of(result: AssetCheckResult, names: Names) -> AssetCheckEvaluation:
    """A result as the event that is logged."""
    if result.asset_key is None or result.check_name is None:
        raise ValueError("a check result must name its asset and check")
    return AssetCheckEvaluation(
        asset_key=names.key(result.asset_key),
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=None if result.description is None else remedy_in(names, result.description),
    )


def _targeting(found: AssetCheckEvaluation, newest: EventLogRecord | None) -> AssetCheckEvaluation:
    """The same result for the asset's newest materialisation, whatever its partition."""
    target = None
    if newest is not None:
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=newest.storage_id, run_id=newest.run_id, timestamp=newest.timestamp
        )
    return AssetCheckEvaluation(
        asset_key=found.asset_key,
        check_name=found.check_name,
        passed=found.passed,
        metadata=found.metadata,
        severity=found.severity,
        description=found.description,
        target_materialization_data=target,
    )


class CheckReporter:
    """Reports check results for one run of assets. Not for several threads at once."""

    def __init__(
        self, context: AssetExecutionContext | OpExecutionContext, names: Names, assets: Iterable[str]
    ) -> None:
        self._context = context
        self._instance = context.instance
        self._names = names
        self._keys = [AssetCheckKey(names.key(key.asset_key), key.name) for key in keys_of(assets)]
        self._logged: set[AssetCheckKey] = set()

    def report(self, results: Iterable[AssetCheckResult]) -> None:
        """Log results; a check that another run is just evaluating is left to that run."""
        evaluations = [evaluation_of(result, self._names) for result in results]
        newest = self._newest([one.asset_check_key for one in evaluations])
        for evaluation in evaluations:
            if not self._is_in_progress(newest.get(evaluation.asset_check_key)):
                self._log(evaluation, newest.get(evaluation.asset_check_key))

    def repeat(self) -> None:
        """After materialising: log the newest result of every check again, where it is another run's."""
        for key, record in self._newest(self._keys).items():
            if record.run_id == self._context.run.run_id or self._is_in_progress(record):
                continue
            evaluated = record if record.status in _EVALUATED else newest_evaluated(self._instance, key)
            if evaluated is not None and evaluated.evaluation is not None:
                self._log(evaluated.evaluation, record)

    def lacks_evaluation(self, name: str) -> bool:
        """Whether a check of this name has no result yet, or only an announcement, as of this run itself."""
        keys = [key for key in self._keys if key.name == name]
        newest = self._newest(keys)
        return any(key not in newest or newest[key].status not in _EVALUATED for key in keys)

    def _newest(self, keys: Sequence[AssetCheckKey]) -> dict[AssetCheckKey, AssetCheckExecutionRecord]:
        return dict(self._instance.event_log_storage.get_latest_asset_check_execution_by_key(keys))

    def _log(self, evaluation: AssetCheckEvaluation, newest: AssetCheckExecutionRecord | None) -> None:
        key = evaluation.asset_check_key
        if key in self._logged and newest is not None and newest.run_id != self._context.run.run_id:
            (asset,) = self._instance.get_asset_records([key.asset_key]) or (None,)
            materialized = asset.asset_entry.last_materialization_record if asset else None
            self._instance.report_runless_asset_event(_targeting(evaluation, materialized))
            return
        self._context.log_event(_targeting(evaluation, None))  # pyright: ignore[reportArgumentType] - taken, but not in its annotation
        self._logged.add(key)

    def _is_in_progress(self, record: AssetCheckExecutionRecord | None) -> bool:
        """Whether another run that has not ended has announced a result."""
        if record is None or record.status in _EVALUATED or record.run_id == self._context.run.run_id:
            return False
        run = self._instance.get_run_by_id(record.run_id)
        return run is not None and not run.is_finished
