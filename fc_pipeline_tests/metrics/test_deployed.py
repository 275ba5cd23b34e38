"""The dashboard and the rules that ship with the project speak of metrics, labels and paragraphs that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import Settings
from fc_pipeline.metrics.families import FAMILIES
from fc_pipeline.metrics.reference import metrics_markdown

ROOT = project_root()
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "fc_pipeline.json"
LABELS = {family.name: set(family.labels) for family in FAMILIES}


def rules() -> list[dict[str, object]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return group["rules"]


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression, with the text that is made of its labels."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for rule in rules():
        yield str(rule["expr"]), json.dumps(rule["annotations"])


def test_the_committed_reference_is_what_the_declarations_say() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == metrics_markdown(), "run: make docs"


def test_the_configuration_that_is_shown_finds_the_metrics_and_the_rules() -> None:
    (shown,) = re.findall(r"```yaml\n(.+?)```", metrics_markdown(), re.DOTALL)
    found = yaml.safe_load(shown)
    settings = Settings.load({"FC_DATA_DIR": "/nowhere"}, dotenv=None)
    (job,) = found["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{settings.metrics_host}:{settings.metrics_port}"]}]
    assert [ROOT / file for file in found["rule_files"]] == [RULES]


@pytest.mark.parametrize(("expression", "text"), list(expressions()))
def test_metrics_and_labels_are_known(expression: str, text: str) -> None:
    names = set(re.findall(r"\bfc_[a-z_]+", expression))
    assert names
    assert names <= LABELS.keys()
    known = set.union(*(LABELS[name] for name in names))
    used = set(re.findall(r"\{\{ ?(?:\$labels\.)?([a-z_]+) ?\}\}", text))
    grouped = re.search(r"(?:by|on) \(([a-z, ]+)\)", expression)
    used |= set(grouped[1].replace(" ", "").split(",")) if grouped else set()
    used |= set(re.findall(r"[{,]\s*([a-z_]+)\s*[!=~]+", expression))
    assert used <= known


def test_a_counter_is_shown_by_its_rate() -> None:
    counters = {family.name for family in FAMILIES if family.kind == "counter"}
    for expression, _ in expressions():
        for name in set(re.findall(r"\bfc_[a-z_]+", expression)) & counters:
            assert f"rate({name}[" in expression


def test_the_dashboard_shows_every_metric_but_ages_of_sources() -> None:
    shown = {name for expression, _ in expressions() for name in re.findall(r"\bfc_[a-z_]+", expression)}
    assert LABELS.keys() - shown == {
        "fc_source_age_seconds",
        "fc_shard_origin_height",
        "fc_table_rows",
        "fc_lake_files",
    }


def test_every_rule_says_what_to_do_and_where_there_is_more() -> None:
    for rule in rules():
        annotations = rule["annotations"]
        assert isinstance(annotations, dict)
        assert annotations.keys() == {"summary", "remedy", "runbook"}, rule["alert"]
        assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
        page, _, anchor = annotations["runbook"].partition("#")
        text = (ROOT / Path(page)).read_text(encoding="utf-8")
        headings = {
            re.sub(r"[^a-z0-9_ -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)
        }
        assert not anchor or anchor in headings, annotations["runbook"]
