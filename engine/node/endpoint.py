"""What a worker process tells of itself: its metrics and its health, from before it has a worker on."""

import time

from prometheus_client.registry import Collector

from engine.node import health
from engine.node.lags import Lags, Sampler
from engine.node.metrics import METRICS
from engine.node.readings import READERS, View
from engine.node.worker import Worker
from engine.telemetry.collector import TableCollector
from engine.telemetry.server import TelemetryServer


class Endpoint:
    """Answers from the moment it is made; of a worker once it is shown one."""

    def __init__(self, host: str, port: int) -> None:
        """Raises ConfigurationError where the port can't be had."""
        self._worker: Worker | None = None
        self._sampler: Sampler | None = None
        self._names = ("", "")
        self._server = TelemetryServer(
            host, port, lambda: health.live(self._worker), lambda: health.ready(self._worker)
        )
        self._server.add(TableCollector(METRICS, READERS, self._view))
        self.port = self._server.port

    def add(self, collector: Collector) -> None:
        """It tells of something else in this process too."""
        self._server.add(collector)

    def show(self, worker: Worker, app_id: str, namespace: str) -> None:
        """From now on it tells of this worker."""
        self._names = (app_id, namespace)
        source = worker.ports.lags
        if source is not None:
            self._sampler = Sampler(source, worker)
            self._sampler.start()
        self._worker = worker

    def close(self) -> None:
        """Answers no more."""
        if self._sampler is not None:
            self._sampler.stop()
        self._server.close()

    def _view(self) -> View | None:
        worker, sampler = self._worker, self._sampler
        if worker is None:
            return None
        return View(worker, Lags(time.monotonic()) if sampler is None else sampler.lags, *self._names)
