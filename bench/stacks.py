"""What a workload runs on: a log, a worker of its own app, and the process ids of both.

Two kinds: one real Kafka broker with `engine worker --dev`, or the embedded log with `engine dev`. Each stack
has an app, topics and caches of its own, so that no workload meets what another left. Only processes started
here are ever signalled.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from confluent_kafka.admin import AdminClient

from bench.clients import Client, open_client
from bench.floor import FLOOR_SUFFIX, EmbeddedFloor, Floor, KafkaFloor
from bench.links import EmbeddedPlace, KafkaPlace, Place
from bench.measuring import tree
from ops.kafka.cluster import BrokerOptions, KafkaCluster

ROOT = Path(__file__).parents[1]
FLOWS = "bench.flows:app"
READY_SECONDS_MAX = 300.0
STOP_SECONDS_MAX = 10.0
POLL_SECONDS = 0.005
LOG_BYTES_SHOWN = 3_000


class WorkerProcess:
    """A worker, its output in a file."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "engine.cli.main", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_line(self, text: str, count: int = 1, seconds_max: float = READY_SECONDS_MAX) -> None:
        """Returns when `count` lines that contain `text` are in its output."""
        deadline = time.monotonic() + seconds_max
        while self.count_lines(text) < count:
            if self._process.poll() is not None:
                raise RuntimeError(f"the worker ended with {self._process.returncode}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {text!r} from the worker in {seconds_max} s:\n{self._tail()}")
            time.sleep(POLL_SECONDS)

    def count_lines(self, text: str) -> int:
        """How many lines of its output contain `text`."""
        return self._log.read_text(encoding="utf-8", errors="replace").count(text)

    def lines(self, text: str) -> list[str]:
        """The lines of its output that contain `text`."""
        output = self._log.read_text(encoding="utf-8", errors="replace")
        return [line for line in output.splitlines() if text in line]

    def kill(self) -> None:
        """SIGKILL to it and to its children; returns when they are gone."""
        pids = tree([self.pid])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        wait_gone(pids)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what doesn't heed it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS_MAX)
        self.kill()

    def _tail(self) -> str:
        return self._log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace")


def wait_gone(pids: Sequence[int], seconds_max: float = 10.0) -> None:
    """Returns when none of these processes runs any more."""
    deadline = time.monotonic() + seconds_max
    while any(_is_running(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still running after {seconds_max} s: {pids}")
        time.sleep(0.002)


def _is_running(pid: int) -> bool:
    try:
        data = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return data[data.rindex(b")") + 2 :].split()[0] not in (b"Z", b"X")


class Stack(ABC):
    """One app on one log."""

    log_name: str
    ready_line: str

    def __init__(self, place: Place, directory: Path, processes: int) -> None:
        self.place = place
        self.directory = directory
        self.processes = processes
        self.worker: WorkerProcess | None = None
        self._lives = 0
        self._floors = 0
        directory.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def floor(self) -> Floor:
        """The same log without the engine."""

    @abstractmethod
    def pids(self) -> dict[str, list[int]]:
        """The roots of the process trees, by what they are."""

    @property
    @abstractmethod
    def cache(self) -> Path:
        """Where the worker's caches are."""

    @abstractmethod
    def _words(self) -> list[str]:
        """The worker's command line."""

    def start_worker(self) -> None:
        """Returns at once."""
        self._lives += 1
        self.worker = WorkerProcess(self._words(), self.directory / f"worker-{self._lives}.log")

    def wait_ready(self) -> None:
        """Returns when every process of the worker owns what it is assigned."""
        assert self.worker is not None
        self.worker.wait_line(self.ready_line, self.processes)

    def start(self) -> Self:
        """A worker that is ready."""
        self.start_worker()
        self.wait_ready()
        return self

    def kill_worker(self) -> None:
        """As a crash of all its processes."""
        assert self.worker is not None
        self.worker.kill()

    def stop_worker(self) -> None:
        """In good order."""
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def wipe_cache(self) -> None:
        """As after the loss of a machine. Only while no worker runs."""
        shutil.rmtree(self.cache, ignore_errors=True)

    @contextmanager
    def client(self, kind: str) -> Iterator[Client]:
        """A client of the app."""
        client = open_client(kind, self.place)
        try:
            yield client
        finally:
            client.close()

    def close(self) -> None:
        """Ends the worker and deletes what it kept, but for its own words."""
        self.stop_worker()
        for entry in self.directory.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)


class KafkaStack(Stack):
    """An app on the broker."""

    log_name = "kafka"
    ready_line = "worker ready"
    place: KafkaPlace

    def __init__(self, cluster: KafkaCluster, place: KafkaPlace, directory: Path, processes: int) -> None:
        super().__init__(place, directory, processes)
        self._cluster = cluster

    def floor(self) -> Floor:
        return KafkaFloor(self.place)

    def pids(self) -> dict[str, list[int]]:
        brokers = [broker.pid for broker in self._cluster.brokers if broker.pid is not None]
        return {"worker": [self.worker.pid] if self.worker else [], "broker": brokers}

    @property
    def cache(self) -> Path:
        return self.directory / "state"

    def _words(self) -> list[str]:
        words = ["worker", "--app", self.place.app, "--dev", "--log-format", "text"]
        words += ["--bootstrap-servers", self.place.bootstrap_servers]
        words += ["--partitions", str(self.place.partitions), "--processes", str(self.processes)]
        return [*words, "--state-dir", str(self.cache), FLOWS]

    def close(self) -> None:
        super().close()
        admin = AdminClient({"bootstrap.servers": self.place.bootstrap_servers})
        own = tuple(f"{self.place.namespace}.{self.place.app}{suffix}." for suffix in ("", FLOOR_SUFFIX))
        names = [name for name in admin.list_topics(timeout=30).topics if name.startswith(own)]
        for future in admin.delete_topics(names).values() if names else ():
            future.result()


class EmbeddedStack(Stack):
    """An app on the embedded log."""

    log_name = "embedded"
    ready_line = "ready, "
    place: EmbeddedPlace

    def floor(self) -> Floor:
        self._floors += 1
        return EmbeddedFloor(self.directory / f"floor-{self._floors}", self.place.directory)

    def pids(self) -> dict[str, list[int]]:
        return {"worker": [self.worker.pid] if self.worker else []}

    @property
    def cache(self) -> Path:
        return self.place.directory / "cache"

    def _words(self) -> list[str]:
        return ["dev", "--dir", str(self.place.directory), "--log-level", "info", FLOWS]


class Lab:
    """Makes stacks, on one broker for all of them where the log is Kafka. A `with` starts and stops it."""

    def __init__(self, log_name: str, directory: Path, partitions: int, *, is_synced: bool = False) -> None:
        """`is_synced`: the broker calls fsync for every append, as it doesn't by default."""
        self.log_name = log_name
        self.about = {"log": log_name}
        self._directory = directory
        self._partitions = partitions
        self._count = 0
        self._resources = ExitStack()
        self._cluster: KafkaCluster | None = None
        if log_name == "kafka":
            # A broker that others keep from running must not be fenced by its own controller.
            settings = {"broker.session.timeout.ms": "120000"}
            if is_synced:
                settings["log.flush.interval.messages"] = "1"
            self._cluster = KafkaCluster(directory / "kafka", 1, options=BrokerOptions(settings=settings))
            flushing = "an fsync for every append" if is_synced else "Kafka's default flushing"
            self.about["durability"] = f"one broker, acks=all, replication 1, {flushing}"
        else:
            self.about["durability"] = "SQLite, WAL, synchronous=NORMAL: survives a kill, not a power cut"

    def __enter__(self) -> Self:
        if self._cluster is not None:
            self._cluster.start()
            self._resources.callback(self._cluster.kill)
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @contextmanager
    def stack(self, name: str, *, processes: int = 1, partitions: int | None = None) -> Iterator[Stack]:
        """A new app, its worker not started yet."""
        self._count += 1
        app = f"{name}-{self._count}"
        directory = self._directory / app
        partitions = partitions or self._partitions
        stack: Stack
        if self._cluster is not None:
            place = KafkaPlace(self._cluster.bootstrap_servers, app, partitions)
            stack = KafkaStack(self._cluster, place, directory, processes)
        else:
            stack = EmbeddedStack(EmbeddedPlace(directory / "log"), directory, processes)
        try:
            yield stack
        finally:
            stack.close()
