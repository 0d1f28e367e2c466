"""The logs that the suite runs on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.embedded import EmbeddedLog
from tests.contract.harness import Driver, EmbeddedHarness, LogHarness
from tests.contract.kafka_harness import KafkaHarness
from tests.contract.memory_harness import MemoryHarness


def _made(kind: str, request: pytest.FixtureRequest, directory: Path) -> LogHarness:
    if kind == "embedded":
        return EmbeddedHarness(directory)
    if kind == "memory":
        return MemoryHarness()
    return KafkaHarness(request.getfixturevalue("bootstrap_servers"))


@pytest.fixture(params=["memory", "embedded", "kafka"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogHarness]:
    """A new log of each kind."""
    made = _made(request.param, request, tmp_path / "log")
    yield made
    made.close()


@pytest.fixture
def owner(harness: LogHarness) -> Driver:
    """The first member."""
    return Driver(harness.open_log("a"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where an embedded log is made."""
    return tmp_path / "log"


@pytest.fixture
def log(directory: Path) -> Iterator[EmbeddedLog]:
    """An embedded log."""
    made = EmbeddedLog(directory)
    yield made
    made.close()
