"""What Dagster's UI shows of checks while runs materialise: the newest result, whoever evaluated."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    Definitions,
    asset,
    in_process_executor,
)
from dagster._core.loader import LoadingContext
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from fc_pipeline.orchestration.checks import keys
from fc_pipeline.orchestration.checks.evaluation import CheckReporter
from fc_pipeline.orchestration.checks.keys import UNIQUE_KEYS, key_checks
from fc_pipeline.orchestration.names import Names

KEY = AssetCheckKey(AssetKey("casts"), UNIQUE_KEYS)


class _Loading(LoadingContext):
    """What a request of the webserver loads through."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._loaders: dict[Any, Any] = {}

    @property
    def instance(self) -> DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> dict[Any, Any]:
        return self._loaders


def shown(instance: DagsterInstance) -> bool | None:
    """Whether the check passed, as the asset's page shows it; None: not evaluated."""

    async def look() -> bool | None:
        context = _Loading(instance)
        record = await AssetCheckExecutionRecord.gen(context, KEY)
        if record is None or not await record.targets_latest_materialization(context):
            return None
        return record.evaluation.passed if record.evaluation else None

    return asyncio.run(look())


def result(*, passed: bool) -> AssetCheckResult:
    return AssetCheckResult(asset_key="casts", check_name=UNIQUE_KEYS, passed=passed)


@contextmanager
def follower(instance: DagsterInstance) -> Iterator[Any]:
    """A run of `casts` that goes on while the block looks at it: gives what it does as functions."""
    steps: list[Any] = []

    @asset(name="casts")
    def casts(context: AssetExecutionContext) -> None:
        reporter = CheckReporter(context, Names(), ["casts"])
        for step in steps:
            step(context, reporter)

    definitions = Definitions(assets=[casts], executor=in_process_executor)
    yield steps
    assert definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success


def materialize(context: AssetExecutionContext, reporter: CheckReporter) -> None:
    context.log_event(AssetMaterialization("casts", partition="2026-11-01-10:00"))
    reporter.repeat()


def by_hand(instance: DagsterInstance, *, passed: bool) -> None:
    """Another run evaluates, as somebody who presses Execute."""

    @asset(name="other")
    def other(context: AssetExecutionContext) -> None:
        CheckReporter(context, Names(), ["casts"]).report([result(passed=passed)])

    definitions = Definitions(assets=[other], executor=in_process_executor)
    assert definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success


def test_what_a_run_evaluates_is_shown_however_often_it_materialises():
    with DagsterInstance.ephemeral() as instance, follower(instance) as steps:
        steps += [
            materialize,
            lambda _, reporter: reporter.report([result(passed=True)]),
            materialize,
            lambda *_: _expect(instance, True),
            lambda _, reporter: reporter.report([result(passed=False)]),
            materialize,
            lambda *_: _expect(instance, False),
        ]


def test_what_another_run_evaluates_is_shown_after_the_next_materialisation_too():
    with DagsterInstance.ephemeral() as instance, follower(instance) as steps:
        steps += [
            materialize,
            lambda _, reporter: reporter.report([result(passed=True)]),
            lambda *_: by_hand(instance, passed=False),
            materialize,
            lambda *_: _expect(instance, False),
            materialize,
            lambda *_: _expect(instance, False),
            # Its own next word counts again, though its row is older than the other run's.
            lambda _, reporter: reporter.report([result(passed=True)]),
            lambda *_: _expect(instance, True),
            materialize,
            lambda *_: _expect(instance, True),
        ]


def test_a_successor_shows_what_was_evaluated_before_it_began():
    with DagsterInstance.ephemeral() as instance:
        by_hand(instance, passed=False)
        with follower(instance) as steps:
            steps += [
                materialize,
                lambda *_: _expect(instance, False),
                materialize,
                lambda *_: _expect(instance, False),
            ]


def test_a_check_that_is_being_evaluated_is_left_to_who_evaluates_it(monkeypatch: pytest.MonkeyPatch):
    with DagsterInstance.ephemeral() as instance:
        reporters: list[CheckReporter] = []

        def evaluate(replica: Any, tables: Any) -> Iterator[AssetCheckResult]:
            reporters[0].report([result(passed=True)])  # of the run that follows, just then
            reporters[0].repeat()
            yield result(passed=False)

        def execute(*_: Any) -> None:
            definitions = Definitions(
                asset_checks=[key_checks], resources={"replica": _NoReplica()}, executor=in_process_executor
            )
            job = definitions.resolve_implicit_global_asset_job_def()
            chosen = job.get_subset(asset_selection=set(), asset_check_selection={KEY})
            assert chosen.execute_in_process(instance=instance).success

        monkeypatch.setattr(keys, "evaluate_keys", evaluate)
        with follower(instance) as steps:
            steps += [
                lambda _, reporter: reporters.append(reporter),
                execute,
                lambda *_: _expect(instance, False),
                materialize,
                lambda *_: _expect(instance, False),
            ]


class _NoReplica:
    @contextmanager
    def open(self, *, need_hub: bool = True) -> Iterator[None]:
        yield None


def _expect(instance: DagsterInstance, passed: bool | None) -> None:
    assert shown(instance) is passed
