"""A place where a worker runs: tests that ask for one are run on Kafka and on a directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client import WorkflowClient
from tests.client.running import Place, on_a_directory, on_kafka


@pytest.fixture(scope="session")
def kafka_place(bootstrap_servers: str) -> Iterator[Place]:
    with on_kafka(bootstrap_servers) as place:
        yield place


@pytest.fixture(scope="session")
def directory_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with on_a_directory(Path(tmp_path_factory.mktemp("embedded")) / ".engine") as place:
        yield place


@pytest.fixture(params=["kafka", "embedded"])
def place(request: pytest.FixtureRequest) -> Place:
    name = "kafka_place" if request.param == "kafka" else "directory_place"
    return request.getfixturevalue(name)


@pytest.fixture
def client(place: Place) -> Iterator[WorkflowClient]:
    with place.open() as client:
        yield client
