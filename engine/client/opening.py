"""From what a user says of a log to a connection. The one place that knows which logs there are."""

from collections.abc import Mapping
from pathlib import Path

from engine.client.connection import Connection
from engine.client.embedded import EmbeddedConnection
from engine.client.kafka import KafkaConnection
from engine.kafka.settings import KafkaSettings


def open_kafka(
    bootstrap_servers: str, app: str, namespace: str, config: Mapping[str, str] | None
) -> Connection:
    """A connection to Kafka. Raises UnreachableError, ConfigurationError."""
    return KafkaConnection(
        KafkaSettings(
            bootstrap_servers=bootstrap_servers,
            app=app,
            namespace=namespace,
            member="client",
            extra=dict(config or {}),
        )
    )


def open_embedded(directory: Path | str) -> Connection:
    """A connection to the embedded log in `directory`. Raises ConfigurationError."""
    return EmbeddedConnection(Path(directory))
