"""`docker-compose.kafka.yml` without Docker: its services' environment, taken the way the image takes it.

The image prepares a broker by Kafka's own `KafkaDockerWrapper`, which is in our jars too. It is called with
what the file says; changed are only addresses, each to a port of this machine that is reached the same way.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typing_extensions import override

from ops.kafka.broker import LOGGING
from ops.kafka.distribution import SERVER, Distribution
from ops.kafka.jars import KAFKA_VERSION
from ops.kafka.network import HOST, free_ports, kafka_answers
from ops.kafka.process import Leash
from tests.integration.harness import REPOSITORY, AppUnderTest, run_command

WRAPPER = "kafka.docker.KafkaDockerWrapper"
FILE = (REPOSITORY / "docker-compose.kafka.yml").read_text(encoding="utf-8")
PATIENCE_SECONDS = 60
HEALTH_PORT = 19092
# Brokers that were told nothing about it refuse the short ones of other tests.
SESSION = {"session_timeout_ms": 6_000}
# `host:port` with the host left out, as a listener on all interfaces has it, or named.
ADDRESS = re.compile(r"(?<![\w.])([\w-]*):(\d+)\b")


def one_broker() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(FILE)
    return document


def three_brokers() -> dict[str, Any]:
    """The commented variant, put in as the comment above it says."""
    head, lines = FILE.split("# Three brokers: ")
    variant = "\n".join(line[2:] for line in lines.partition("#\n")[2].splitlines())
    document: dict[str, Any] = yaml.safe_load(head.partition("services:")[0] + variant)
    return document


class Addresses:
    """Who is reached where: a container's ports by its name, and those that it publishes by localhost."""

    def __init__(self, services: dict[str, Any]) -> None:
        self._ports: dict[tuple[str, str], int] = {}
        self._published: dict[tuple[str, str], tuple[str, str]] = {}
        for name, service in services.items():
            assert service["hostname"] == name
            for port in service["ports"]:
                _, outer, inner = port.split(":")
                self._published[name, inner] = ("localhost", outer)

    def port(self, host: str, port: str) -> int:
        """The port of this machine that stands for this one."""
        place = self._published.get((host, port), (host, port))
        if place not in self._ports:
            (self._ports[place],) = free_ports(1)
        return self._ports[place]

    def translated(self, service: str, value: str) -> str:
        """The value with every address of it translated, as `service` sees them."""
        return ADDRESS.sub(lambda found: f"{HOST}:{self.port(found[1] or service, found[2])}", value)


@dataclass
class Container:
    """One service of the file: a broker, and its volume, which outlives it."""

    name: str
    service: dict[str, Any]
    addresses: Addresses
    directory: Path
    distribution: Distribution
    process: subprocess.Popen[bytes] | None = None
    leash: Leash | None = None

    def start(self) -> None:
        """As the image: write and format by the environment (again at every start), then run the server."""
        configuration = self.directory / "config"
        for directory in ("config", "data", "default", "logs", "mounted"):
            (self.directory / directory).mkdir(parents=True, exist_ok=True)
        (configuration / "server.properties").touch()
        setup = ["setup"]
        for kind, directory in (("default", "default"), ("mounted", "mounted"), ("final", "config")):
            setup += [f"--{kind}-configs-dir", str(self.directory / directory)]
        log = f"-Dlog4j2.configurationFile={LOGGING}", f"-Dkafka.logs.dir={self.directory / 'logs'}"
        done = subprocess.run(
            self.distribution.command(WRAPPER, ["-Xmx128m", *log], setup),
            env=os.environ | self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 or "already formatted" in said, said
        flags = [self.service["environment"]["KAFKA_HEAP_OPTS"], *log]
        command = self.distribution.command(SERVER, flags, [str(configuration / "server.properties")])
        with (self.directory / "console.log").open("ab") as console:
            self.process = subprocess.Popen(command, stdout=console, stderr=console)
        self.leash = Leash(self.process.pid)

    def wait_healthy(self) -> None:
        """By the file's own check, whose yes means that requests are served."""
        kind, *check = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        port = self.addresses.port(self.name, str(HEALTH_PORT))
        check[-1] = check[-1].replace(str(HEALTH_PORT), str(port))
        assert self.process is not None
        while subprocess.run(check, check=False, capture_output=True).returncode != 0:
            assert self.process.poll() is None, (self.directory / "console.log").read_text()
        assert kafka_answers(port)

    def stop(self) -> None:
        """`docker compose down`: it is asked to end."""
        self._end(subprocess.Popen.terminate)

    def close(self) -> None:
        """Killed, if it has not ended."""
        self._end(subprocess.Popen.kill)

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self.leash is not None:
            assert self.process is not None
            how(self.process)
            self.process.wait(PATIENCE_SECONDS)
            self.leash.drop()
            self.leash = None

    def _environment(self) -> dict[str, str]:
        values = {name: str(value) for name, value in self.service["environment"].items()}
        values = {name: self.addresses.translated(self.name, value) for name, value in values.items()}
        (volume,) = self.service["volumes"]
        assert values["KAFKA_LOG_DIRS"] == volume.partition(":")[2]
        return values | {"KAFKA_LOG_DIRS": str(self.directory / "data")}


Up = Callable[[dict[str, Any]], tuple[list[Container], str]]


@pytest.fixture
def up(kafka_distribution: Distribution, tmp_path: Path) -> Iterator[Up]:
    """`docker compose up --wait`: the containers, and their address for programs on this machine."""
    with ExitStack() as stack:

        def start(document: dict[str, Any]) -> tuple[list[Container], str]:
            services = document["services"]
            assert {service["image"] for service in services.values()} == {f"apache/kafka:{KAFKA_VERSION}"}
            assert {each["volumes"][0].partition(":")[0] for each in services.values()} == {
                *document["volumes"]
            }
            addresses = Addresses(services)
            containers = [
                Container(name, service, addresses, tmp_path / name, kafka_distribution)
                for name, service in services.items()
            ]
            for container in containers:
                stack.callback(container.close)
                container.start()
            for container in containers:
                container.wait_healthy()
            ports = [addresses.port(name, "9092") for name in services]
            return containers, ",".join(f"{HOST}:{port}" for port in ports)

        yield start


class ProductionApp(AppUnderTest):
    """Its topics are made by the operator's command, replicated as that does it; its workers expect them."""

    def create(self) -> None:
        options = ["--app", self.app, "--bootstrap-servers", self.bootstrap_servers]
        made = run_command(
            ["topics", "apply", *options, "--partitions", str(self.partitions)], self.directory
        )
        assert made.returncode == 0, made.stdout + made.stderr

    @override
    def options(self, state: str = "a", **settings: Any) -> list[str]:
        return [option for option in super().options(state, **settings) if option != "--dev"]


Serve = Callable[[type[AppUnderTest], str], AppUnderTest]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """An app on these brokers; its workers are gone afterwards."""
    with ExitStack() as stack:

        def start(kind: type[AppUnderTest], bootstrap_servers: str) -> AppUnderTest:
            subject = kind(bootstrap_servers, tmp_path)
            stack.callback(subject.close)
            return subject

        yield start


def test_one_broker_runs_workflows_and_keeps_its_data(up: Up, serve: Serve) -> None:
    (container,), bootstrap_servers = up(one_broker())
    subject = serve(AppUnderTest, bootstrap_servers)
    subject.worker(**SESSION).wait_ready()
    before = subject.start("chain", 1, name="before")
    subject.auditor().read_outcomes(before)
    container.stop()
    container.start()
    container.wait_healthy()
    after = subject.start("chain", 1, name="after")
    assert subject.auditor().read_outcomes([*before, *after]) == dict.fromkeys([*after, *before], 4)


def test_three_brokers_replicate_and_go_on_without_one(up: Up, serve: Serve) -> None:
    containers, bootstrap_servers = up(three_brokers())
    subject = serve(ProductionApp, bootstrap_servers)
    subject.create()
    subject.worker(**SESSION).wait_ready()
    found = subject.admin.list_topics(timeout=10).topics[subject.commands].partitions.values()
    assert [len(partition.replicas) for partition in found] == [3] * subject.partitions
    containers[0].close()
    started = subject.start("chain", 1, count=10)
    assert subject.auditor().read_outcomes(started) == dict.fromkeys(started, 4)
