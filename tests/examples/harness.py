"""All examples in one app, run by a real worker in this process, on a directory or on Kafka."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.client import WorkflowClient
from engine.core.registry import Registry
from engine.embedded import EmbeddedCommandSource, EmbeddedLog
from engine.kafka.log import KafkaLog
from engine.kafka.settings import KafkaSettings
from engine.kafka.source import KafkaCommandSource
from engine.node.worker import Worker, WorkerPorts, WorkerSettings
from engine.store.memory import MemoryStore
from examples import (
    child_workflows,
    fan_out_fan_in,
    monitor,
    purchase_order,
    request_escalation,
    task_chaining,
)

READY_SECONDS = 60
EXAMPLES = (child_workflows, fan_out_fan_in, monitor, purchase_order, request_escalation, task_chaining)


def all_examples() -> Registry:
    """The workflows and activities of all examples."""
    registry = Registry()
    for example in EXAMPLES:
        registry.workflows |= example.app.registry.workflows
        registry.activities |= example.app.registry.activities
    return registry


@contextmanager
def on_a_directory(directory: Path) -> Iterator[WorkflowClient]:
    """A client of a worker on the embedded log."""
    log = EmbeddedLog(directory, partitions=2)
    ports = WorkerPorts(log=log, source=EmbeddedCommandSource(log), open_store=_stores())
    with _running(ports), WorkflowClient.embedded(directory) as client:
        yield client


@contextmanager
def on_kafka(bootstrap_servers: str) -> Iterator[WorkflowClient]:
    """A client of a worker on Kafka, with topics of its own."""
    app = f"examples-{uuid.uuid4().hex[:10]}"
    settings = KafkaSettings(bootstrap_servers=bootstrap_servers, app=app, is_dev=True, partitions=2)
    log = KafkaLog(settings)
    source = KafkaCommandSource(settings, log.identity.commands_topic_id)
    ports = WorkerPorts(log=log, source=source, open_store=_stores())
    with _running(ports), WorkflowClient.kafka(bootstrap_servers=bootstrap_servers, app=app) as client:
        yield client


@contextmanager
def _running(ports: WorkerPorts) -> Iterator[None]:
    worker = Worker(all_examples(), ports, WorkerSettings())
    ready = threading.Event()
    thread = threading.Thread(target=worker.run, args=(ready.set,), daemon=True)
    thread.start()
    try:
        assert ready.wait(READY_SECONDS), "the worker did not become ready"
        yield
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


def _stores() -> Callable[[int], MemoryStore]:
    stores: dict[int, MemoryStore] = {}
    return lambda partition: stores.setdefault(partition, MemoryStore())
