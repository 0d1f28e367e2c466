"""One worker process from its settings to its exit code: signals, app, Kafka, caches. Never raises.

An end by signal is bounded: what isn't committed by then is derived again by whoever takes over.
"""

import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from types import FrameType
from typing import NoReturn, Protocol, TypeVar

import msgspec
from confluent_kafka import KafkaException

from engine.errors import ConfigurationError, EngineError, LogUnavailableFault
from engine.kafka.clients import CLIENTS
from engine.kafka.errors import fault_of
from engine.kafka.lags import KafkaLags
from engine.kafka.log import KafkaLog
from engine.kafka.settings import KafkaSettings, refusal_of
from engine.kafka.source import KafkaCommandSource
from engine.node.endpoint import Endpoint
from engine.node.loading import load_app
from engine.node.state import Slot
from engine.node.supervisor import CONFIGURATION_EXIT
from engine.node.worker import Worker, WorkerPorts
from engine.partition.ports import Store
from engine.settings import Settings
from engine.store.rocks import open_store

log = logging.getLogger(__name__)

FAULT_EXIT = 1
# For supervisors alone: who has none begins anew in its own place.
ANEW_EXIT = 75
STOP_SECONDS_MAX = 4.0
RETRY_SECONDS = 1.0
LOOK_SECONDS = 0.05


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is to run."""

    settings: Settings
    kafka_properties: dict[str, str]
    app: str
    # Whether somebody starts it again when it ends.
    is_supervised: bool = False


T = TypeVar("T")
Beside = Callable[["StopRequest", Worker, Endpoint | None], AbstractContextManager[object]]


class Stoppable(Protocol):
    """Something that works until it is told to stop."""

    def stop(self) -> None:
        """Asks it to stop. Returns at once."""
        ...


class StopRequest:
    """SIGTERM and SIGINT, whenever they come: before there is a worker, or while it works."""

    def __init__(self, give_up: Callable[[], None] | None = None) -> None:
        """`give_up` ends a process that is not gone in time."""
        self._give_up = give_up or _give_up
        self.asked = threading.Event()
        self._worker: Stoppable | None = None
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def watch(self, worker: Stoppable) -> None:
        """From now on a signal stops it."""
        self._worker = worker
        if self.asked.is_set():
            worker.stop()

    def ask(self) -> None:
        """As a signal does. Any thread."""
        if self.asked.is_set():
            return
        self.asked.set()
        timer = threading.Timer(STOP_SECONDS_MAX, self._give_up)
        timer.daemon = True
        timer.start()
        if self._worker is not None:
            self._worker.stop()

    def until_reached(self, action: Callable[[], T], unreachable: type[Exception]) -> T | None:
        """What `action` returns, tried while it raises `unreachable`; None where a stop is asked for."""
        while not self.asked.is_set():
            try:
                return self.unless_asked(action)
            except unreachable as problem:
                log.warning("%s; again in %.0f s", problem, RETRY_SECONDS)
            self.asked.wait(RETRY_SECONDS)
        return None

    def unless_asked(self, action: Callable[[], T]) -> T | None:
        """What `action` returns or raises, or None as soon as a stop is asked for. By the main thread.

        A call that waits inside a C library holds signals up; so it waits in another thread, which is left to
        itself where nobody wants its answer any more.
        """
        outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def act() -> None:
            try:
                outcome.put((action(), None))
            except BaseException as problem:  # noqa: BLE001 -- raised where it is waited for
                outcome.put((None, problem))

        threading.Thread(target=act, name="opening", daemon=True).start()
        while not self.asked.is_set():
            try:
                value, problem = outcome.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if problem is not None:
                raise problem
            return value
        return None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.ask()


def _alone(stop: StopRequest, worker: Worker, endpoint: Endpoint | None) -> AbstractContextManager[object]:
    return nullcontext()


def run_process(assignment: Assignment, slot: Slot, beside: Beside = _alone) -> int:
    """Works until a signal; returns the exit code. Must be called by the main thread.

    What `beside` gives is entered before the work begins, and left after it has ended.
    """
    stop = StopRequest()
    try:
        sys.setswitchinterval(assignment.settings.switch_interval_ms / 1000)
        registry = load_app(assignment.app).registry
        registry.app_id = assignment.settings.app
        endpoint = _open_endpoint(assignment.settings, slot)
        ports = _open_when_reachable(assignment, slot, stop)
        if ports is None:
            return 0
        worker = Worker(registry, ports, assignment.settings.worker())
        CLIENTS.begin(partial(_begin_anew, assignment.is_supervised))
        stop.watch(worker)
        if endpoint is not None:
            endpoint.show(worker, assignment.settings.app, assignment.settings.namespace)
        with beside(stop, worker, endpoint):
            worker.run(on_ready=lambda: log.info("worker ready", extra=_whereabouts(worker, slot)))
    except ConfigurationError as error:
        log.critical("%s", error)
        return CONFIGURATION_EXIT
    except EngineError as error:
        log.critical("%s: %s", type(error).__name__, error)
        return FAULT_EXIT
    except KeyboardInterrupt as error:
        log.critical("%s", raised_by_code(error))
        return FAULT_EXIT
    except Exception:
        log.exception("the worker ends by a bug of its own")
        return FAULT_EXIT
    log.info("worker stopped", extra={"slot": slot.number})
    return 0


def raised_by_code(interrupt: KeyboardInterrupt) -> str:
    """Says who interrupted a process whose signals only ask it to stop."""
    frame = traceback.extract_tb(interrupt.__traceback__)[-1]
    return f"KeyboardInterrupt was raised by code, in {frame.name} of {frame.filename}:{frame.lineno}"


def end_process(exit_code: int) -> None:
    """Ends at once. The interpreter's own way out waits for activities and clients, without a bound."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(exit_code)


def _begin_anew(is_supervised: bool) -> NoReturn:  # noqa: FBT001 -- a callback's
    """Ends the process as a crash does, where a client of it has lost its Kafka; and has it begun again.

    All that it did and had not committed is derived again, which is sure to work; to replace one client under
    the work of all partitions is not.
    """
    log.critical("the process begins anew")
    logging.shutdown()
    sys.stdout.flush()
    if not is_supervised:
        # In its own place: whoever watches over it sees nothing of that.
        with suppress(OSError):
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 -- itself
    os._exit(ANEW_EXIT)


def open_ports(settings: KafkaSettings, slot: Slot) -> WorkerPorts:
    """Kafka and the caches. Raises ConfigurationError, LogUnavailableFault."""
    kafka_log = KafkaLog(settings)
    history_topic_id = kafka_log.identity.history_topic_id

    def open_partition(partition: int) -> Store:
        return open_store(slot.partition_directory(partition), history_topic_id, partition)

    try:
        source = KafkaCommandSource(settings, kafka_log.identity.commands_topic_id)
    except BaseException:
        kafka_log.close()
        raise
    return WorkerPorts(log=kafka_log, source=source, open_store=open_partition, lags=KafkaLags(settings))


def _open_endpoint(settings: Settings, slot: Slot) -> Endpoint | None:
    """Before there is a worker, for one that waits for its Kafka lives. Raises ConfigurationError."""
    if not settings.metrics_port:
        return None
    endpoint = Endpoint(settings.metrics_host, settings.metrics_port + slot.number)
    log.info("metrics are served", extra={"slot": slot.number, "port": endpoint.port})
    return endpoint


def _open_when_reachable(assignment: Assignment, slot: Slot, stop: StopRequest) -> WorkerPorts | None:
    """A worker may be started before its Kafka is. None where it was stopped meanwhile."""
    settings = assignment.settings.kafka(slot.member, assignment.kafka_properties)

    def attempt() -> WorkerPorts:
        try:
            return open_ports(settings, slot)
        except KafkaException as problem:
            fault = refusal_of(problem, settings.config) or fault_of(problem, "open the topics")
            raise fault from problem

    return stop.until_reached(attempt, LogUnavailableFault)


def _whereabouts(worker: Worker, slot: Slot) -> dict[str, object]:
    return {"slot": slot.number, "member": slot.member, "partitions": sorted(worker.loop.owners)}


def _give_up() -> None:
    text = "the process did not stop in %.1f s; what it had not committed is derived again"
    log.error(text, STOP_SECONDS_MAX)
    end_process(FAULT_EXIT)
