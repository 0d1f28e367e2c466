"""How Kafka is reached.

Whatever librdkafka can be told passes through; what correctness rests on does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from engine.errors import ConfigurationError
from engine.kafka.errors import error_of
from engine.kafka.lines import LINES

_EXACTNESS = "exactly-once rests on it"
_DELIVERY = "a record given up early, sent twice or out of order would undo exactly-once"
_SIZES = "what the engine has accepted must always fit"
_PACE = "the engine sets it for its pace"

# What the client library adds to librdkafka's own: named as it names them.
_CALLBACKS = frozenset({"error_cb", "on_commit", "stats_cb"})


def _by_option(name: str) -> str:
    return f"use --{name.replace('.', '-')} or ENGINE_{name.replace('.', '_').upper()}"


# What a properties file must not set, and why: it is refused, not overruled in silence.
RESERVED: dict[str, str] = {
    **dict.fromkeys(
        (
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
        ),
        _EXACTNESS,
    ),
    **dict.fromkeys(
        (
            "delivery.report.only.error",
            "delivery.timeout.ms",
            "enable.gapless.guarantee",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "message.send.max.retries",
            "message.timeout.ms",
            "retries",
        ),
        _DELIVERY,
    ),
    **dict.fromkeys(("message.max.bytes", "message.copy.max.bytes"), _SIZES),
    "statistics.interval.ms": "clients are watched by it",
    **dict.fromkeys(
        (
            "fetch.queue.backoff.ms",
            "fetch.wait.max.ms",
            "linger.ms",
            "queue.buffering.max.kbytes",
            "queue.buffering.max.messages",
            "queue.buffering.max.ms",
            "queued.min.messages",
            "retry.backoff.ms",
        ),
        _PACE,
    ),
    **{
        name: _by_option(name)
        for name in (
            "heartbeat.interval.ms",
            "max.poll.interval.ms",
            "session.timeout.ms",
            "transaction.timeout.ms",
        )
    },
}


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
    # What a properties file says, and where it is.
    extra: dict[str, str] = {}
    config: str = ""

    def client(self, **settings: Any) -> dict[str, Any]:
        """A librdkafka configuration: the user's settings below, ours above. None sets nothing."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": f"engine-{self.app}-{self.member}",
            "socket.keepalive.enable": True,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 1_000,
            # Its lines go where ours go, and in our form; unread ones of a closed client go nowhere.
            "logger": LINES,
        }
        config.update(self.extra)
        config.update(
            {
                name if name in _CALLBACKS else name.replace("_", "."): value
                for name, value in settings.items()
                if value is not None
            }
        )
        return config


def load_properties(path: str) -> dict[str, str]:
    """Reads `name=value` lines. Raises ConfigurationError for a file or line that can't be used."""
    file = Path(path)
    if not file.is_file():
        message = f"expected a properties file, but there is none at {path!r}"
        raise ConfigurationError(message)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        message = f"expected {path} to be a text file in UTF-8, but: {problem}"
        raise ConfigurationError(message) from problem
    properties: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text[0] in "#!":
            continue
        name, separator, value = text.partition("=")
        if not separator:
            message = f"expected name=value in line {number} of {path}, but got {text!r:.60}"
            raise ConfigurationError(message)
        properties[name.strip()] = value.strip()
    return check_properties(properties, path)


def check_properties(properties: dict[str, str], path: str) -> dict[str, str]:
    """Raises ConfigurationError where a setting would undo what correctness rests on. Opens no client."""
    wrong = [f"{name} ({RESERVED[name]})" for name in sorted(RESERVED.keys() & properties.keys())]
    if wrong:
        message = f"expected {_whence(path)} to leave alone what the engine sets, but got {', '.join(wrong)}"
        raise ConfigurationError(message)
    return properties


def open_admin(settings: KafkaSettings) -> AdminClient:
    """An admin client. Raises ConfigurationError for a property that librdkafka refuses."""
    with refusals(settings):
        return AdminClient(settings.client())


@contextmanager
def refusals(settings: KafkaSettings) -> Iterator[None]:
    """Around the opening of a client: what librdkafka refuses to be told is raised as ConfigurationError."""
    try:
        yield
    except (KafkaException, TypeError, ValueError) as problem:
        refusal = refusal_of(problem, settings.config)
        if refusal is None:
            raise
        raise refusal from problem


def refusal_of(problem: Exception, path: str) -> ConfigurationError | None:
    """The exception for settings that no client can be opened with; None where it is something else."""
    text = str(problem)
    if isinstance(problem, KafkaException):
        error = error_of(problem)
        if error.code() != KafkaError._INVALID_ARG:
            return None
        text = error.str()
    return ConfigurationError(f"expected {_whence(path)} to be what librdkafka can be told, but: {text}")


def _whence(path: str) -> str:
    return f"the properties file {path}" if path else "the Kafka client's settings"
