"""How Kafka is reached.

Whatever librdkafka can be told passes through; what correctness rests on does not.
"""

import logging
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import ConfigurationError

# Exactly-once rests on these: a properties file that sets them is refused, not overruled in silence.
RESERVED = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "isolation.level",
        "partition.assignment.strategy",
        "request.required.acks",
        "transactional.id",
    }
)


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The connection, and the names of an app's topics."""

    bootstrap_servers: str
    app: str
    namespace: str = "wf"
    member: str = "member-0"
    partitions: int = 12
    is_dev: bool = False
    session_timeout_ms: int = 6_000
    heartbeat_interval_ms: int = 200
    max_poll_interval_ms: int = 60_000
    transaction_timeout_ms: int = 12_000
    commit_timeout_ms: int = 10_000
    request_timeout_ms: int = 10_000
    committers: int = 3
    extra: dict[str, str] = {}

    def client(self, **settings: Any) -> dict[str, Any]:
        """A librdkafka configuration: the user's settings below, ours above."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": f"engine-{self.app}-{self.member}",
            "socket.keepalive.enable": True,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 1_000,
            # Its lines go where ours go, and in our form; unread ones of a closed client go nowhere.
            "logger": logging.getLogger("engine.librdkafka"),
        }
        config.update(self.extra)
        config.update(
            {name.replace("_", ".").replace("error.cb", "error_cb"): v for name, v in settings.items()}
        )
        return config


def load_properties(path: str) -> dict[str, str]:
    """Reads `name=value` lines. Raises ConfigurationError for a file or line that can't be used."""
    file = Path(path)
    if not file.is_file():
        message = f"expected a properties file, but there is none at {path!r}"
        raise ConfigurationError(message)
    properties: dict[str, str] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#!":
            continue
        name, separator, value = text.partition("=")
        if not separator:
            message = f"expected name=value in line {number} of {path}, but got {text!r:.60}"
            raise ConfigurationError(message)
        properties[name.strip()] = value.strip()
    return check_properties(properties)


def check_properties(properties: dict[str, str]) -> dict[str, str]:
    """Raises ConfigurationError where a setting would undo what correctness rests on."""
    wrong = sorted(RESERVED & properties.keys())
    if wrong:
        message = f"expected no setting that the engine relies on, but got {', '.join(wrong)}; remove them"
        raise ConfigurationError(message)
    return properties
