"""A worker in this process for the tests of clients and of the command line, on Kafka or in a directory."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.client import AsyncWorkflowClient, WorkflowClient
from engine.core.context import WorkflowContext
from engine.embedded import EmbeddedCommandSource, EmbeddedLog
from engine.kafka.log import KafkaLog
from engine.kafka.settings import KafkaSettings
from engine.kafka.source import KafkaCommandSource
from engine.node.worker import Worker, WorkerPorts, WorkerSettings
from engine.runtime import WorkflowRuntime
from engine.store.memory import MemoryStore

PARTITIONS = 3
READY_S = 60
DEFAULTS = WorkerSettings()
T = TypeVar("T")

app = WorkflowRuntime()


@app.activity
def increment(context: Any, number: int) -> int:
    return number + 1


@app.activity
def fail(context: Any, text: str) -> None:
    raise ValueError(text)


@app.workflow
def chain(context: WorkflowContext, number: int):
    for _ in range(3):
        number = yield context.call_activity(increment, input=number)
    return number


@app.workflow
def failing(context: WorkflowContext, text: str):
    yield context.call_activity(fail, input=text)


@app.workflow
def approval(context: WorkflowContext, item: str):
    context.set_custom_status("waiting")
    answer = yield context.wait_for_external_event("answer")
    return {"item": item, "answer": answer}


@app.workflow
def countdown(context: WorkflowContext, number: int):
    yield context.call_activity(increment, input=number)
    if number:
        context.continue_as_new(number - 1)
        return None
    return "lift off"


class Place(msgspec.Struct, frozen=True):
    """Where a worker runs, and how to reach it."""

    name: str
    open: Callable[[], WorkflowClient]
    open_async: Callable[[], AsyncWorkflowClient]
    arguments: tuple[str, ...]


@contextmanager
def running_worker(ports: WorkerPorts, settings: WorkerSettings = DEFAULTS) -> Iterator[None]:
    worker = Worker(app.registry, ports, settings)
    ready = threading.Event()
    thread = threading.Thread(target=worker.run, args=(ready.set,), daemon=True)
    thread.start()
    try:
        assert ready.wait(READY_S), "the worker did not become ready"
        yield
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def on_kafka(bootstrap_servers: str, worker: WorkerSettings = DEFAULTS) -> Iterator[Place]:
    name = f"client-{uuid.uuid4().hex[:10]}"
    settings = KafkaSettings(
        bootstrap_servers=bootstrap_servers, app=name, is_dev=True, partitions=PARTITIONS
    )
    log = KafkaLog(settings)
    source = KafkaCommandSource(settings, log.identity.commands_topic_id)
    with running_worker(WorkerPorts(log=log, source=source, open_store=_memory()), worker):
        yield Place(
            "kafka",
            lambda: WorkflowClient.kafka(bootstrap_servers=bootstrap_servers, app=name),
            lambda: AsyncWorkflowClient.kafka(bootstrap_servers=bootstrap_servers, app=name),
            ("--bootstrap-servers", bootstrap_servers, "--app", name),
        )


@contextmanager
def on_a_directory(directory: Path, worker: WorkerSettings = DEFAULTS) -> Iterator[Place]:
    log = EmbeddedLog(directory, partitions=PARTITIONS)
    ports = WorkerPorts(log=log, source=EmbeddedCommandSource(log), open_store=_memory())
    with running_worker(ports, worker):
        yield Place(
            "embedded",
            lambda: WorkflowClient.embedded(directory),
            lambda: AsyncWorkflowClient.embedded(directory),
            ("--dir", str(directory)),
        )


def _memory() -> Callable[[int], MemoryStore]:
    stores: dict[int, MemoryStore] = {}
    return lambda partition: stores.setdefault(partition, MemoryStore())


def eventually(look: Callable[[], T], is_met: Callable[[T], bool], seconds: float = 20) -> T:
    """For what nobody is woken by. Each look is a whole read of a partition, so this does not spin."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if is_met(seen):
            return seen
        assert time.monotonic() < deadline, f"it stays {seen!r}"
        threading.Event().wait(0.02)
