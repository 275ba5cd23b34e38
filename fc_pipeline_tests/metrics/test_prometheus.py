"""What ships for Prometheus, and what is served to it, as Prometheus' own `promtool` sees them."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fc_pipeline.config.project import project_root
from fc_pipeline.metrics.exposition import serving_metrics
from fc_pipeline.metrics.families import FAMILIES
from fc_pipeline.metrics.reference import metrics_markdown
from fc_pipeline.services.local_http import local_answer
from fc_pipeline_tests.metrics.test_deployed import RULES, expressions, rules

PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (apt install prometheus)")

MINUTES = 400
"""As long as the series below go on: longer than any rule waits."""
FIRING = {
    "FcPipelineMetricsGone": 'fc_shard_lag_seconds{shard="1"} 1',
    "FcPipelineSourceDown": 'fc_source_up{source="ledger"} 0',
    "FcPipelineBehind": 'fc_shard_lag_seconds{shard="1"} 301',
    "FcPipelineHoles": 'fc_shard_hole_blocks{shard="1"} 1',
    "FcPipelineGapOpen": 'fc_open_gap_blocks{shard="1",reason="outage"} 10',
    "FcPipelineQuarantine": 'fc_quarantine_open{reason="invalid"} 101',
    "FcPipelineDrift": 'fc_drift_rows{table="casts",kind="missing"} 1',
    "FcPipelineCheckFailed": 'fc_check_failed{asset="casts",check="unique_keys"} 1',
    "FcPipelineSensorSilent": 'fc_dagster_tick_age_seconds{name="hub_event_sensor"} 301',
    "FcPipelineTickFailed": 'fc_dagster_tick_failed{name="gap_sensor"} 1',
    "FcPipelineHubDown": 'fc_hub_up{hub="http://127.0.0.1:3381"} 0',
}
"""A series with the value that each rule is about."""
WELL = (
    'fc_source_up{source="ledger"} 1',
    'fc_shard_lag_seconds{shard="1"} 3',
    'fc_shard_hole_blocks{shard="1"} 0',
    'fc_quarantine_open{reason="nul_removed"} 5000',
    'fc_check_failed{asset="casts",check="unique_keys"} 0',
    'fc_dagster_tick_age_seconds{name="hub_event_sensor"} 20',
    'fc_dagster_tick_age_seconds{name="daily_audit"} 80000',
    'fc_dagster_tick_failed{name="gap_sensor"} 0',
    'fc_hub_up{hub="http://127.0.0.1:3381"} 0',
    'fc_hub_up{hub="http://127.0.0.1:3382"} 1',
)
"""A replica that nothing is wrong with; a hub of two may be down."""


def promtool(*arguments: str, given: str | None = None) -> str:
    """What it says of something that it finds right."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_takes_every_metric_without_a_remark() -> None:
    samples = [family.of(1, *("one" for _ in family.labels)) for family in FAMILIES]
    with serving_metrics(lambda: samples, "127.0.0.1", 0) as port:
        status, body = local_answer(port, "/metrics", timeout_seconds=10)
    assert status == 200
    assert {line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")} == {
        family.name for family in FAMILIES
    }
    assert promtool("check", "metrics", given=body.decode()) == ""


def test_it_takes_the_configuration_of_the_documentation(tmp_path: Path) -> None:
    shown = metrics_markdown().split("```yaml\n")[1].split("```")[0]
    config = tmp_path / "prometheus.yml"
    config.write_text(shown.replace("deploy/", f"{project_root()}/deploy/"))
    assert "SUCCESS" in promtool("check", "config", str(config))


def test_it_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    records = [
        {"record": f"shown:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (expression, _) in enumerate(expressions())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    promtool("check", "rules", str(file))


@pytest.mark.parametrize("alert", [str(rule["alert"]) for rule in rules()])
def test_a_rule_fires_once_it_is_true_for_so_long(alert: str, tmp_path: Path) -> None:
    file = tmp_path / "test.yml"
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [_test([FIRING[alert]], firing, 1)]}))
    promtool("test", "rules", str(file))


def test_no_rule_fires_where_nothing_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "tests": [_test(list(WELL), "count(ALERTS) or vector(0)", 0)]})
    )
    promtool("test", "rules", str(file))


def _test(series: list[str], expression: str, value: int) -> dict[str, object]:
    """That an expression has this value after all the minutes of these series."""
    names_and_values = [one.rsplit(" ", 1) for one in series]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{at}x{MINUTES}"} for name, at in names_and_values],
        "promql_expr_test": [
            {"expr": expression, "eval_time": f"{MINUTES}m", "exp_samples": [{"labels": "{}", "value": value}]}
        ],
    }
