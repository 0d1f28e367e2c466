"""A gateway over a real worker, on a directory; and on Kafka for the few tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.client.connection import Connection
from engine.client.opening import open_embedded
from engine.gateway.server import Gateway, GatewaySettings
from tests.client.conftest import kafka_place
from tests.client.running import eventually, on_a_directory
from tests.gateway import flows

__all__ = ["flows", "kafka_place"]

APP = "shop"
WAIT_S = 30


@contextmanager
def serving(connection: Connection, directory: Path, **settings: Any) -> Iterator[Gateway]:
    told = GatewaySettings(app_id=APP, directory=directory, port=settings.pop("port", 0), **settings)
    gateway = Gateway(connection, told, on_shutdown=lambda: None)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.close()


@contextmanager
def impatient(connection: Connection, directory: Path, *, command_wait_s: float) -> Iterator[Gateway]:
    """A gateway that soon answers that nothing is decided; not before it follows the log: it takes nothing
    until then, and so short a wait may be over."""
    with serving(connection, directory, command_wait_s=command_wait_s) as gateway:
        eventually(lambda: gateway.service.is_connected, bool)
        yield gateway


@contextmanager
def asking(gateway: Gateway, **headers: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=WAIT_S, headers=headers, trust_env=False) as http:
        yield http


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = Path(tmp_path_factory.mktemp("gateway")) / ".engine"
    with on_a_directory(directory):
        yield directory


@pytest.fixture(scope="session")
def connection(directory: Path) -> Iterator[Connection]:
    connection = open_embedded(directory)
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def gateway(connection: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(connection, Path(tmp_path_factory.mktemp("read")), command_wait_s=WAIT_S) as gateway:
        yield gateway


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with asking(gateway) as http:
        yield http
