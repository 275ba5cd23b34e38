"""Sources of metrics: what was read last is shown as long as the source can be read."""

import threading

import pytest

from fc_pipeline.errors import PostgresError
from fc_pipeline.metrics import families as f
from fc_pipeline.metrics import sources as sources_module
from fc_pipeline.metrics.families import Sample
from fc_pipeline.metrics.sources import Source, Sources


def shown(source: Source) -> dict[str, float]:
    return {sample.family.name: sample.value for sample in source.samples() if sample.family is not f.SOURCE_AGE}


def test_a_source_that_fails_shows_nothing_of_before_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    fails = False

    def read() -> list[Sample]:
        if fails:
            raise PostgresError("Postgres: gone", hint="start it")
        return [f.DATABASE_BYTES.of(5)]

    source = Source("ledger", read, 60.0)
    assert shown(source) == {"fc_source_up": 0}  # not read yet
    source.refresh()
    assert shown(source) == {"fc_source_up": 1, "fc_database_bytes": 5}
    fails = True
    for _ in range(3):
        source.refresh()
    assert shown(source) == {"fc_source_up": 0}
    fails = False
    source.refresh()
    assert shown(source) == {"fc_source_up": 1, "fc_database_bytes": 5}
    said = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in said] == ["metrics_source_down", "metrics_source_up"]
    assert "gone" in said[0]


def test_a_source_that_hangs_is_down_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(sources_module.time, "monotonic", lambda: now)
    source = Source("hubs", lambda: [f.DATABASE_BYTES.of(5)], 15.0)
    source.refresh()
    now += 40
    assert shown(source)["fc_source_up"] == 1
    now += 60  # and no reading came to its end
    assert shown(source) == {"fc_source_up": 0}


def test_one_that_hangs_keeps_no_other_waiting() -> None:
    hangs, was_read = threading.Event(), threading.Event()

    def hang() -> list[Sample]:
        hangs.wait(30)
        return []

    def read() -> list[Sample]:
        was_read.set()
        return [f.DATABASE_BYTES.of(5)]

    sources = Sources([Source("slow", hang, 1.0), Source("ledger", read, 1.0)])
    sources.start()
    try:
        assert was_read.wait(10)
        up = {s.labels[0]: s.value for s in sources.samples() if s.family is f.SOURCE_UP}
        assert up["slow"] == 0
    finally:
        hangs.set()
        sources.stop()
