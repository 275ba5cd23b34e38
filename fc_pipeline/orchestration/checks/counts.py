"""Are counts and threads exact? Evaluated by counting a thousand keys anew, and by walking up a thousand threads."""

from collections.abc import Callable, Iterable, Mapping

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, multi_asset_check

from fc_pipeline.orchestration.checks.wording import check_spec, table_of, with_remedy
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.names import bare
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.replica import Replica
from fc_pipeline.status.exact_counts import KEYS_COMPARED, compare_counts, compare_threads
from fc_pipeline.tables.cast_threads import CAST_THREADS
from fc_pipeline.tables.counts import COUNT_TABLES, CountTable

__all__ = ["COUNTS_EXACT", "THREADS_EXACT", "count_checks"]

COUNTS_EXACT = "counts_exact"
THREADS_EXACT = "threads_exact"
_MAX_NAMED_FIDS = 100

_REMEDY = (
    "`fc-pipeline backfill --fids …` of the users named compares them with the hub, and counts them and their casts "
    "anew. Then find out who changed these rows with triggers off."
)


@multi_asset_check(
    name="count_checks",
    specs=[
        *(
            check_spec(
                table.name,
                COUNTS_EXACT,
                f"The counts of {KEYS_COMPARED:,} keys, those that changed last and others by chance, are what the "
                "tables give that they count.",
                _REMEDY,
            )
            for table in COUNT_TABLES
        ),
        check_spec(
            CAST_THREADS.name,
            THREADS_EXACT,
            f"Going up from {KEYS_COMPARED:,} casts, those that changed last and others by chance, reply by reply, "
            "ends at the root that cast_threads names, after as many replies.",
            _REMEDY,
        ),
    ],
    can_subset=True,
)
def count_checks(context: AssetCheckExecutionContext, replica: ReplicaResource) -> Iterable[AssetCheckResult]:
    """Evaluate the selected tables now."""
    evaluators: Mapping[str, Callable[[Replica], AssetCheckResult]] = {
        CAST_THREADS.name: _evaluate_threads,
        **{table.name: _evaluating(table) for table in COUNT_TABLES},
    }
    with failing_step(), replica.open(need_hub=False) as opened:
        for name in sorted(bare(key.asset_key) for key in context.selected_asset_check_keys):
            yield evaluators[name](opened)


def _evaluating(table: CountTable) -> Callable[[Replica], AssetCheckResult]:
    def evaluate(replica: Replica) -> AssetCheckResult:
        found = compare_counts(replica, table)
        rows = [
            {"key": one.key, "fid": one.fid, **{name: one.lacking.get(name, 0) for name in table.names}}
            for one in found.wrong
        ]
        return _result(
            table.name,
            COUNTS_EXACT,
            found.compared,
            f"{len(found.wrong):,} of {found.compared:,} keys have counts that are not what the tables give",
            rows,
            ("key", "fid", *table.names),
        )

    return evaluate


def _evaluate_threads(replica: Replica) -> AssetCheckResult:
    found = compare_threads(replica)
    return _result(
        CAST_THREADS.name,
        THREADS_EXACT,
        found.compared,
        f"{len(found.wrong):,} of {found.compared:,} casts have another root or depth than their parents say",
        [{"hash": hash_, "fid": fid} for hash_, fid in found.wrong],
        ("hash", "fid"),
    )


def _result(
    asset: str,
    check: str,
    compared: int,
    finding: str,
    wrong: list[dict[str, str | int | None]],
    columns: tuple[str, ...],
) -> AssetCheckResult:
    fids = sorted({one["fid"] for one in wrong if isinstance(one["fid"], int)})[:_MAX_NAMED_FIDS]
    scope = f"--fids {','.join(map(str, fids))}" if fids else "--all"
    return AssetCheckResult(
        asset_key=asset,
        check_name=check,
        passed=not wrong,
        severity=AssetCheckSeverity.ERROR,
        description=with_remedy(finding, f"fc-pipeline backfill {scope}") if wrong else None,
        metadata={"keys_compared": compared, "wrong_keys": len(wrong), "wrong": table_of(wrong, columns)},
    )
