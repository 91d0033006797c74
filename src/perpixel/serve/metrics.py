"""What is counted, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "perpixel_requests", "Answered requests.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "perpixel_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.model_seconds = Histogram(
            "perpixel_model_seconds", "A batch in its model.", ["task"], buckets=SECONDS, registry=self.registry
        )
        self.batch_size = Histogram(
            "perpixel_batch_size", "Requests in a batch.", ["task"], buckets=(1, 2, 4, 8, 16), registry=self.registry
        )
        self.uploaded = Counter("perpixel_uploaded_bytes", "Bytes of bodies that were read.", registry=self.registry)

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Show a number that is asked for when the metrics are read."""
        Gauge(name, help, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
