"""`python -m ops.kafka` and the ends of brokers: none is started twice or left behind or fails silently."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.kafka.broker import BrokerOptions
from ops.kafka.cluster import KafkaCluster
from ops.kafka.distribution import Distribution
from ops.kafka.errors import BrokerFailed, ClusterMismatch, PortInUse
from ops.kafka.layout import load_or_choose, save
from ops.kafka.network import free_ports, is_free, kafka_answers
from ops.kafka.process import running_pid, wait_ended

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0
LAUNCH_AND_WAIT_FOR_DEATH = """
import pathlib, signal, sys
from ops.kafka.cluster import KafkaCluster
KafkaCluster(pathlib.Path(sys.argv[1])).brokers[0].launch()
print("launched", flush=True)
signal.pause()
"""


class CommandLine:
    """`python -m ops.kafka` on a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        full = [sys.executable, "-m", "ops.kafka", command, "--dir", str(self.directory), *arguments]
        return subprocess.run(full, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY)


@pytest.fixture
def kafka_command(tmp_path: Path, kafka_distribution: Distribution) -> Iterator[CommandLine]:
    assert kafka_distribution.jars
    command = CommandLine(tmp_path / "kafka")
    yield command
    command("down")


def test_up_twice_is_one_kafka_and_down_ends_it(kafka_command: CommandLine) -> None:
    (port,) = free_ports(1)
    first = kafka_command("up", "--port", str(port))
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == f"127.0.0.1:{port}"
    second = kafka_command("up", "--port", str(port))
    assert "already running" in second.stdout
    assert second.stdout.splitlines()[-1] == f"127.0.0.1:{port}"
    assert kafka_answers(port)
    assert kafka_command("status").returncode == 0
    elsewhere = kafka_command("up", "--port", str(port + 1))
    assert elsewhere.returncode == 1
    assert "stop it first" in elsewhere.stderr
    assert kafka_command("down").returncode == 0
    assert is_free(port)
    assert kafka_command("status").returncode == 3
    assert "no Kafka runs" in kafka_command("down").stdout


@pytest.mark.usefixtures("kafka_distribution")
def test_a_broker_does_not_outlive_its_owner_even_if_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LAUNCH_AND_WAIT_FOR_DEATH, str(tmp_path)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert owner.stdout is not None
    with owner.stdout as output:
        assert output.readline() == b"launched\n"
    pid_file = tmp_path / "broker-1" / "pid"
    marker = str(tmp_path / "broker-1" / "server.properties")
    assert running_pid(pid_file, marker) is not None
    owner.kill()
    owner.wait(PATIENCE_SECONDS)
    assert wait_ended(pid_file, marker, PATIENCE_SECONDS)


@pytest.mark.usefixtures("kafka_distribution")
def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path, bootstrap_servers: str) -> None:
    taken = int(bootstrap_servers.partition(",")[0].rpartition(":")[2])
    with pytest.raises(PortInUse, match=rf"port {taken} .* is in use"):
        KafkaCluster(tmp_path, ports=[taken]).start()


@pytest.mark.usefixtures("kafka_distribution")
def test_a_broker_that_cannot_start_fails_at_once_with_its_last_words(tmp_path: Path) -> None:
    cluster = KafkaCluster(tmp_path, options=BrokerOptions(settings={"num.io.threads": "none"}))
    with pytest.raises(BrokerFailed, match=r"num\.io\.threads"):
        cluster.start()


def test_a_directory_keeps_its_number_of_brokers(tmp_path: Path) -> None:
    save(load_or_choose(tmp_path, 1, None), tmp_path)
    with pytest.raises(ClusterMismatch, match=r"1 broker.* but 3 were asked for"):
        KafkaCluster(tmp_path, 3)


def test_a_pid_that_became_somebody_elses_is_not_ours(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(os.getpid()), encoding="ascii")
    assert running_pid(pid_file, "server.properties of a broker long gone") is None
