"""A worker on a directory with its endpoint, and the app that it runs."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

import engine as wf
from engine.embedded import EmbeddedClientLog, EmbeddedCommandSource, EmbeddedLags, EmbeddedLog
from engine.node.endpoint import Endpoint
from engine.node.worker import Worker, WorkerPorts, WorkerSettings
from engine.store.rocks import open_store

WAIT_S = 60
PARTITIONS = 2
DEFAULTS = WorkerSettings()

app = wf.WorkflowRuntime()
gate = threading.Event()


@app.activity
def double(ctx, number):
    return number * 2


@app.activity
def fail(ctx, text):
    raise ValueError(text)


@app.activity
async def double_soon(ctx, number):
    return number * 2


@app.activity
def wait_for_gate(ctx, _):
    gate.wait(WAIT_S)
    return "open"


@app.workflow
def doubled(ctx, number):
    number = yield ctx.call_activity(double, input=number)
    return (yield ctx.call_activity(double_soon, input=number))


@app.workflow
def failing(ctx, text):
    yield ctx.call_activity(fail, input=text)


@app.workflow
def gated(ctx, _):
    return (yield ctx.call_activity(wait_for_gate))


@app.workflow
def asks(ctx, text):
    return (yield ctx.wait_for_external_event("answer"))


@app.workflow
def sleeps(ctx, _):
    yield ctx.create_timer(timedelta(milliseconds=1))


@app.workflow
def parent(ctx, number):
    return (yield ctx.call_child_workflow(doubled, input=number))


class Running:
    """A worker, its endpoint, and a way in."""

    def __init__(self, worker: Worker, endpoint: Endpoint, client: EmbeddedClientLog) -> None:
        self.worker = worker
        self.endpoint = endpoint
        self._client = client

    def publish(self, kind: str, instance_id: str, **fields: Any) -> None:
        command = {"type": kind, "instance_id": instance_id, **fields}
        self.publish_raw(instance_id, json.dumps(command).encode())

    def publish_raw(self, key: str, value: bytes) -> None:
        self._client.publish(key.encode(), value)

    def start(self, workflow: str, instance_id: str, value: Any = 1) -> None:
        self.publish("StartInstance", instance_id, workflow=workflow, input=value)

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and body."""
        return get(self.endpoint.port, path, method)

    def wait(self, count: float, name: str, **labels: str) -> None:
        """Until a metric reads at least so much."""
        wait_metric(self.endpoint.port, count, name, **labels)

    def read(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name with those labels."""
        return read(self.endpoint.port, name, **labels)


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def read(port: int, name: str, **labels: str) -> float:
    status, text = get(port, "/metrics")
    assert status == 200, text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def wait_metric(port: int, count: float, name: str, **labels: str) -> None:
    pause, found = threading.Event(), -1.0
    for _ in range(WAIT_S * 20):
        found = read(port, name, **labels)
        if found >= count:
            return
        pause.wait(0.05)
    raise AssertionError(f"expected {name}{labels} to be {count}, but it is {found}")


@contextmanager
def running(directory: Path, port: int = 0, settings: WorkerSettings = DEFAULTS) -> Iterator[Running]:
    """Works until left."""
    log = EmbeddedLog(directory / "log", partitions=PARTITIONS)
    topic_id = log.identity.history_topic_id
    ports = WorkerPorts(
        log=log,
        source=EmbeddedCommandSource(log),
        open_store=lambda number: open_store(directory / f"cache-{number}", topic_id, number),
        lags=EmbeddedLags(log.directory),
    )
    worker = Worker(app.registry, ports, settings)
    endpoint = Endpoint("127.0.0.1", port)
    ready = threading.Event()
    thread = threading.Thread(target=worker.run, args=(ready.set,), daemon=True)
    thread.start()
    client = EmbeddedClientLog(log.directory)
    try:
        assert ready.wait(WAIT_S), "the worker did not become ready"
        endpoint.show(worker, "shop", "wf")
        yield Running(worker, endpoint, client)
    finally:
        gate.set()
        gate.clear()
        client.close()
        worker.stop()
        thread.join(20)
        endpoint.close()
        assert not thread.is_alive()
