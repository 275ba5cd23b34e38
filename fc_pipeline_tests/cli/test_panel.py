"""What `up` says once everything runs: mode, hub, database and lake, with no password in it."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fc_pipeline.cli.panel import print_panel
from fc_pipeline.config.settings import Settings
from fc_pipeline.orchestration.servers.dagster import PREFERRED_UI_PORT
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.networks import generated_network, log_of

UI = f"http://127.0.0.1:{PREFERRED_UI_PORT}"
SECRET = "hunter2"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with serving(log_of(generated_network(5))) as url:
        yield url


def panel(
    hub: str,
    *embedded: str,
    ui_url: str = UI,
    port: int | None = None,
    metrics_port: int | None = None,
    **settings: Any,
) -> tuple[dict[str, str], list[str]]:
    """The values by their labels, and the lines that follow."""
    given: dict[str, Any] = {
        "data_dir": Path("/srv/fc data"),
        "lake_uri": "/srv/fc data/lake",
        "postgres_url": f"postgresql://me:{SECRET}@db.example:5433/replica",
        "hub_urls": (hub,),
    }
    output = io.StringIO()
    configured = Settings(**{**given, **settings})
    print_panel(Console(file=output, width=40), configured, embedded, ui_url, port, metrics_port=metrics_port)
    assert SECRET not in output.getvalue()
    first, *lines = output.getvalue().splitlines()
    assert first.startswith("fc-pipeline is up; Ctrl-C stops")
    lines = [line for line in lines if line != "everything"]  # of the first line
    labelled = [line for line in lines if line.startswith("  ")]
    return {line[2:14].strip(): line[14:] for line in labelled}, [line for line in lines if line not in labelled]


def test_what_was_configured_is_named_without_passwords(hub: str):
    lake = f"s3://KEY:{SECRET}@bucket/lake?region=eu-central-1"
    rows, said = panel(hub, redis_url=f"redis://:{SECRET}@cache.example:6379/0", lake_uri=lake)
    assert rows["Dagster UI"] == UI
    assert rows["replicates"] == "every user (FC_TARGETS=all)"
    assert rows["hub"] == hub
    assert "db.example:5433/replica" in rows["Postgres"]
    assert "cache.example:6379" in rows["Redis"]
    assert rows["lake"].startswith("s3://")
    assert "bucket/lake" in rows["lake"]
    assert rows["logs"] == "/srv/fc data/logs"
    assert "embedded" not in "".join(rows.values())
    assert "" not in rows
    assert said == []


def test_what_is_ours_is_said_to_be(hub: str):
    rows, _ = panel(hub, "postgres", "redis", "sample_hub", redis_url="unix:///srv/redis.sock")
    assert rows["Postgres"].endswith(" (embedded)")
    assert rows[""] == "password in /srv/fc data/postgres.password"
    assert rows["Redis"].endswith(" (embedded)")
    assert rows["hub"].endswith(" (sample: generated data)")


@pytest.mark.parametrize(("fids", "roots"), [((3,), "1 root"), ((3, 5), "2 roots"), ((), "0 roots")])
def test_a_target_set_is_told_from_everybody(hub: str, fids: tuple[int, ...], roots: str):
    rows, _ = panel(hub, targets="set", root_fids=fids)
    assert rows["replicates"] == f"the target set only (FC_TARGETS=set, {roots} by FC_ROOT_FIDS)"


def test_without_redis_that_is_said(hub: str):
    assert panel(hub)[0]["Redis"].startswith("none: nothing is shared by it")


def test_a_port_that_was_taken_is_said(hub: str):
    elsewhere = "http://127.0.0.1:4567"
    assert panel(hub, ui_url=elsewhere, port=4567)[1] == []
    assert panel(hub, ui_url=elsewhere)[1] == [f"port {PREFERRED_UI_PORT} is taken: the UI is on 4567"]


def test_where_metrics_are_is_said(hub: str):
    assert "metrics" not in panel(hub)[0]
    rows, said = panel(hub, metrics_port=9464)
    assert (rows["metrics"], said) == ("http://127.0.0.1:9464/metrics", [])
    rows, said = panel(hub, metrics_port=4567)
    assert rows["metrics"] == "http://127.0.0.1:4567/metrics"
    assert " ".join(said) == "port 9464 is taken: metrics are on 4567"
    assert panel(hub, metrics_port=9464, metrics_host="::1")[0]["metrics"] == "http://[::1]:9464/metrics"


def test_a_hub_that_does_not_answer_is_named_and_whether_any_does(hub: str):
    one = " ".join(" ".join(panel(hub, hub_urls=(NOBODY, hub))[1]).split())
    assert f"the hub {NOBODY} does not answer" in one
    assert "nothing new is read" not in one
    none = " ".join(" ".join(panel(hub, hub_urls=(NOBODY,))[1]).split())
    assert f"the hub {NOBODY} does not answer" in none
    assert "nothing new is read until one does; see" in none
