"""Metrics: what each is called, and what is made of it for Prometheus."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fc_pipeline.errors import ServiceError
from fc_pipeline.metrics import families as f
from fc_pipeline.metrics.exposition import serving_metrics
from fc_pipeline.metrics.families import FAMILIES, Sample
from fc_pipeline.services.local_http import local_answer


def test_names_are_those_that_prometheus_knows() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names)) > 30
    for family in FAMILIES:
        assert re.fullmatch(r"fc_[a-z0-9_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert all(re.fullmatch(r"[a-z_]+", label) for label in family.labels)


def test_a_value_has_all_its_labels() -> None:
    with pytest.raises(ValueError, match="fc_hub_up"):
        f.HUB_UP.of(1)


def test_samples_are_served_as_they_are_at_each_moment() -> None:
    samples: list[Sample] = []
    with serving_metrics(lambda: samples, "127.0.0.1", 0) as port:
        assert local_answer(port, "/metrics", timeout_seconds=5.0) == (200, b"")
        samples += [f.SHARD_LAG.of(1.5, 1), f.SHARD_LAG.of(2, 2), f.EVENTS.of(7, "written"), f.HUB_UP.of(1, 'a"b\n')]
        status, body = local_answer(port, "/metrics", timeout_seconds=5.0)
    assert status == 200
    found = {one.name: one for one in text_string_to_metric_families(body.decode())}
    assert [(s.labels, s.value) for s in found["fc_shard_lag_seconds"].samples] == [
        ({"shard": "1"}, 1.5),
        ({"shard": "2"}, 2.0),
    ]
    assert (found["fc_events"].type, found["fc_events"].samples[0].value) == ("counter", 7.0)
    assert found["fc_hub_up"].samples[0].labels == {"hub": 'a"b\n'}
    assert found["fc_hub_up"].documentation == f.HUB_UP.meaning


def test_a_port_that_is_taken_is_named() -> None:
    with serving_metrics(list, "127.0.0.1", 0) as port:
        taken = serving_metrics(list, "127.0.0.1", port)
        with pytest.raises(ServiceError, match=f"127.0.0.1:{port}") as said, taken:
            pass
    assert "FC_METRICS_PORT" in (said.value.hint or "")
