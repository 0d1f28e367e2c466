"""The places of the clients' tests, as the command line reaches them: by a gateway, or by the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.client.opening import open_embedded
from tests.client import conftest as clients
from tests.client.running import Place
from tests.gateway.conftest import WAIT_S, serving

kafka_log = clients.kafka_place
directory_log = clients.directory_place


@pytest.fixture(scope="session")
def kafka_place(kafka_log: Place) -> Place:
    return msgspec.structs.replace(kafka_log, arguments=("--via", "kafka", *kafka_log.arguments))


@pytest.fixture(scope="session")
def directory_place(directory_log: Place) -> Place:
    return msgspec.structs.replace(directory_log, arguments=("--via", "dir", *directory_log.arguments))


@pytest.fixture(scope="session")
def http_place(directory_log: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    connection = open_embedded(directory_log.arguments[1])
    with serving(connection, Path(tmp_path_factory.mktemp("read")), command_wait_s=WAIT_S) as gateway:
        yield msgspec.structs.replace(directory_log, name="http", arguments=("--gateway", gateway.url))
    connection.close()


@pytest.fixture(params=["http", "kafka", "directory"])
def place(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(f"{request.param}_place")
