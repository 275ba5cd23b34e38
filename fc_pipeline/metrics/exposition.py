"""Serves samples over HTTP in Prometheus' format, at `/metrics`."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fc_pipeline.errors import ServiceError
from fc_pipeline.metrics.families import FAMILIES, Sample

__all__ = ["serving_metrics"]


class _Exposed(Collector):
    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """The metrics of which there are values now."""
        by_name: dict[str, list[Sample]] = {}
        for sample in self._samples():
            by_name.setdefault(sample.family.name, []).append(sample)
        for family in FAMILIES:
            if family.name in by_name:
                made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
                metric = made(family.name, family.meaning, labels=family.labels)
                for sample in by_name[family.name]:
                    metric.add_metric(sample.labels, sample.value)
                yield metric


@contextmanager
def serving_metrics(samples: Callable[[], Iterable[Sample]], host: str, port: int) -> Generator[int]:
    """Serve in threads until the block ends; gives the port, which with 0 is a free one.

    Raises ServiceError where it cannot listen there.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exposed(samples))
    server, thread = _started(registry, host, port)
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _started(registry: CollectorRegistry, host: str, port: int) -> tuple[WSGIServer, threading.Thread]:
    try:
        return start_http_server(port, addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        raise ServiceError(
            f"metrics cannot be served at {host}:{port}: {getattr(error, 'strerror', None) or error}",
            hint="set FC_METRICS_PORT to a free port, and FC_METRICS_HOST to an address of this machine",
        ) from error
