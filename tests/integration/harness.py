"""What integration tests work with: an app's topics, worker processes that can be killed, a producer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests.integration.auditor import PATIENCE_SECONDS, Auditor

REPOSITORY = Path(__file__).parents[2]
SAMPLE = "tests.integration.sample:app"
COMMAND_LINE = (sys.executable, "-m", "engine.cli.main")
# Short, so that a takeover is not what a test spends its time on; long enough for a machine at half its speed
# to keep the sessions of the living.
FAST = {"session-timeout-ms": 3_000, "heartbeat-interval-ms": 100}


def run_command(arguments: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """The `engine` command, run to its end."""
    return subprocess.run(
        [*COMMAND_LINE, *arguments],
        cwd=directory,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY)}


class WorkerProcess:
    """`engine worker` as a process; its log records as they come."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self.records: list[dict[str, Any]] = []
        self.text = ""
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            cwd=directory,
            env=_environment(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_log(self, text: str, count: int = 1) -> list[dict[str, Any]]:
        """Waits for `count` records whose message contains `text`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._news:
            while True:
                found = [record for record in self.records if text in record["message"]]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                is_over = not self._reader.is_alive() or left <= 0
                assert not is_over, f"expected {count} times {text!r} in the log, but it is:\n{self.text}"
                self._news.wait(min(left, 0.5))

    def wait_ready(self, count: int = 1) -> list[dict[str, Any]]:
        """Waits until `count` processes, or lives of them, own what they are assigned."""
        return self.wait_log("worker ready", count)

    def kill(self) -> None:
        """SIGKILL: no commit, no goodbye."""
        self._process.kill()
        self.wait()

    def stop(self) -> float:
        """SIGTERM; the seconds until it had ended."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        assert self.wait() == 0, self.text
        return time.monotonic() - began

    def wait(self) -> int:
        """The exit code."""
        code = self._process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    @property
    def has_ended_with_all_children(self) -> bool:
        """Whether nobody holds the other end of its log any more."""
        return not self._reader.is_alive()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._news:
                self.text += line
                if line.startswith("{"):
                    self.records.append(json.loads(line))
                self._news.notify_all()


class AppUnderTest:
    """One app with topics of its own, and all that a test does to it."""

    def __init__(self, bootstrap_servers: str, directory: Path, partitions: int = 2) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.directory = directory
        self.partitions = partitions
        self.app = f"it-{uuid.uuid4().hex[:12]}"
        self.commands = f"wf.{self.app}.commands"
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "acks": "all",
                "linger.ms": 0,
                "message.max.bytes": 2_000_000,
            }
        )
        self._workers: list[WorkerProcess] = []
        self._auditors: list[Auditor] = []

    # --- workers ---

    def state_directory(self, name: str = "a") -> Path:
        return self.directory / f"state-{name}"

    def options(self, state: str = "a", **settings: Any) -> list[str]:
        """The arguments of `engine worker`, as the command line takes them."""
        values = {
            "app": self.app,
            "bootstrap-servers": self.bootstrap_servers,
            "partitions": self.partitions,
            "state-dir": self.state_directory(state),
            **FAST,
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        return ["worker", "--dev", *(f"--{name}={value}" for name, value in values.items())]

    def worker(
        self,
        state: str = "a",
        *,
        app: str = SAMPLE,
        program: Sequence[str] = COMMAND_LINE,
        **settings: Any,
    ) -> WorkerProcess:
        """Starts a worker. Several with the same `state` take different slots of one state directory."""
        worker = WorkerProcess([*program, *self.options(state, **settings), app], self.directory)
        self._workers.append(worker)
        return worker

    def gateway(self, **settings: Any) -> WorkerProcess:
        """Starts a gateway, which logs where it serves."""
        values = {"app": self.app, "bootstrap-servers": self.bootstrap_servers, "http-port": 0}
        values["state-dir"] = self.directory / "state-gateway"
        values |= {name.replace("_", "-"): value for name, value in settings.items()}
        options = [f"--{name}={value}" for name, value in values.items()]
        gateway = WorkerProcess([*COMMAND_LINE, "gateway", *options], self.directory)
        self._workers.append(gateway)
        return gateway

    def auditor(self) -> Auditor:
        """A new auditor, which has read nothing yet."""
        auditor = Auditor(self.bootstrap_servers, self.app)
        self._auditors.append(auditor)
        return auditor

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        for auditor in self._auditors:
            auditor.close()

    # --- commands ---

    def start(self, workflow: str, number: Any = None, *, count: int = 1, name: str = "") -> list[str]:
        """Publishes starts as JSON; the instance ids."""
        ids = [f"{name or workflow}-{k}" for k in range(count)]
        for each in ids:
            self.publish(
                {"type": "StartInstance", "instance_id": each, "workflow": workflow, "input": number}
            )
        self.flush()
        return ids

    def raise_event(self, instance_id: str, name: str, data: Any) -> None:
        self.publish({"type": "RaiseEvent", "instance_id": instance_id, "name": name, "data": data})
        self.flush()

    def publish(self, command: dict[str, Any], **record: Any) -> None:
        """Produces a command as JSON, by default keyed by its instance."""
        record.setdefault("key", command["instance_id"].encode())
        self.produce(json.dumps(command).encode(), **record)

    def produce(self, value: bytes, **record: Any) -> None:
        self._producer.produce(self.commands, value, on_delivery=_must_succeed, **record)
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(PATIENCE_SECONDS) == 0

    # --- topics ---

    def create_topics(self, **configs: dict[str, str]) -> None:
        """Creates topics as an operator might; names as in `commands`, `history`."""
        topics = [
            NewTopic(f"wf.{self.app}.{name}", self.partitions, 1, config=config)
            for name, config in configs.items()
        ]
        for future in self.admin.create_topics(topics).values():
            future.result()

    def ingress_lag(self) -> int:
        """How many records of `commands` the ingress's group has not put behind it."""
        group = f"wf.{self.app}.ingress"
        asked = [ConsumerGroupTopicPartitions(group)]
        offsets = self.admin.list_consumer_group_offsets(asked)[group].result().topic_partitions
        partitions = self.admin.list_topics(self.commands, timeout=10).topics[self.commands].partitions
        done = {place.partition: place.offset for place in offsets}
        lag = 0
        for number in partitions:
            place = TopicPartition(self.commands, number)
            end = self.admin.list_offsets({place: OffsetSpec.latest()})[place].result().offset
            lag += end - max(done.get(number, 0), 0)
        return lag

    def wait_forwarded(self) -> None:
        """Waits until the ingress has nothing before it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while lag := self.ingress_lag():
            assert time.monotonic() < deadline, f"expected an ingress without lag, but it is {lag}"

    def wait_compacted(self, commits: int) -> None:
        """Waits until the cleaner has left fewer than half of the checkpoints of `commits`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := self._checkpoints()) * 2 > commits:
            assert time.monotonic() < deadline, (
                f"expected a compacted history, but {left} of {commits} are left"
            )

    def _checkpoints(self) -> int:
        return sum(key == b"~checkpoint" for _, _, key in self.history_records())

    def history_records(self) -> list[tuple[int, int, bytes]]:
        """(partition, offset, key) of what history holds now, compacted or not."""
        topic = f"wf.{self.app}.history"
        with _plain_consumer(self.bootstrap_servers) as consumer:
            ends = {}
            for number in range(self.partitions):
                ends[number] = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
            consumer.assign([TopicPartition(topic, number, 0) for number in ends])
            found: list[tuple[int, int, bytes]] = []
            while any(place.offset < ends[place.partition] for place in _positions(consumer)):
                message = consumer.poll(0.1)
                if message is not None and message.error() is None:
                    found.append((message.partition() or 0, message.offset() or 0, message.key() or b""))
            return found


@contextmanager
def _plain_consumer(bootstrap_servers: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"plain-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _positions(consumer: Consumer) -> list[TopicPartition]:
    return list(consumer.position(consumer.assignment()))


def _must_succeed(error: object, _: object) -> None:
    assert error is None, error
