"""From what a command is told to an app that it can ask: which way, and where that ends."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path

import click
import msgspec

from engine.cli.access import Access
from engine.cli.http_access import HttpAccess
from engine.cli.log_access import LogAccess
from engine.cli.rest import Rest
from engine.client.connection import Connection
from engine.client.errors import UnreachableError
from engine.client.opening import open_embedded, open_kafka
from engine.embedded.database import holds_log
from engine.errors import ConfigurationError
from engine.kafka.settings import KafkaSettings

# By the environment or a file only: what is on a command line, everybody on the machine can read.
TOKEN_VARIABLES = ("ENGINE_API_TOKEN", "DAPR_API_TOKEN")
GATEWAY_URL = "http://127.0.0.1:3500"
# Where `engine dev` says what its gateway's address is, for commands in the same directory.
ADDRESS_FILE = "gateway.url"


class Via(StrEnum):
    """The ways to an app."""

    HTTP = "http"
    KAFKA = "kafka"
    DIRECTORY = "dir"


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log is: Kafka, or a directory when no server is given."""

    app: str
    namespace: str
    bootstrap_servers: str
    properties: dict[str, str]
    config: str
    directory: Path

    def open_connection(self) -> Connection:
        """A client's connection. Raises UnreachableError, ConfigurationError."""
        return self.open_kafka() if self.bootstrap_servers else self.open_directory()

    def open_kafka(self) -> Connection:
        """The log on Kafka. Raises UsageError where it isn't said which."""
        check_kafka(self.bootstrap_servers, self.app)
        return open_kafka(self.bootstrap_servers, self.app, self.namespace, self.properties)

    def open_directory(self) -> Connection:
        """The embedded log."""
        if not self.directory.is_dir():
            message = (
                f"expected an embedded log in {str(self.directory)!r}, but there is no such directory; "
                "start 'engine dev', or name a Kafka with --bootstrap-servers"
            )
            raise ConfigurationError(message)
        return open_embedded(self.directory)

    def kafka_settings(self, *, is_dev: bool, partitions: int) -> KafkaSettings:
        """For the administration of topics. Raises UsageError where no Kafka is named."""
        check_kafka(self.bootstrap_servers, self.app)
        return KafkaSettings(
            bootstrap_servers=self.bootstrap_servers,
            app=self.app,
            namespace=self.namespace,
            member="cli",
            partitions=partitions,
            is_dev=is_dev,
            extra=self.properties,
            config=self.config,
        )


class AppOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which app is meant, and how it is reached."""

    via: Via
    gateway: str
    token_file: str
    log: LogOptions

    @contextmanager
    def open(self) -> Iterator[Access]:
        """The app, as long as it is asked. Raises UnreachableError, ConfigurationError."""
        with closing(self._open()) as access:
            yield access

    def _open(self) -> Access:
        match self.via:
            case Via.KAFKA:
                return LogAccess(self.log.open_kafka())
            case Via.DIRECTORY:
                return LogAccess(self.log.open_directory())
            case Via.HTTP:
                return self._open_http()

    def _open_http(self) -> Access:
        token = read_token(self.token_file)
        announced = "" if self.gateway else announced_url(self.log.directory)
        if announced:
            # Where that process was killed, its word is still there.
            with suppress(UnreachableError):
                return HttpAccess(Rest(announced, token), self.log.app)
        if not self.gateway and not self.log.app and holds_log(self.log.directory):
            # Whatever else answers on that port is another app's: a start would land there unseen.
            message = (
                f"expected 'engine dev' to serve HTTP for {str(self.log.directory)!r}, where its log is, but "
                "it does not run; start it, go to that log itself by --via dir, or name who is meant: "
                f"--gateway {GATEWAY_URL}, or --app"
            )
            raise UnreachableError(message)
        return HttpAccess(Rest(self.gateway or GATEWAY_URL, token), self.log.app)


def check_kafka(bootstrap_servers: str, app: str) -> None:
    """Raises UsageError where it isn't said which Kafka, or which app on it."""
    if not bootstrap_servers:
        message = "expected --bootstrap-servers (or ENGINE_BOOTSTRAP_SERVERS), but no Kafka is named"
        raise click.UsageError(message)
    if not app:
        message = "expected --app (or ENGINE_APP), but no app is named"
        raise click.UsageError(message)


def read_token(path: str = "") -> str:
    """The token that callers must send, "" where there is none. Raises ConfigurationError for a bad file."""
    if not path:
        return next((os.environ[name] for name in TOKEN_VARIABLES if os.environ.get(name)), "")
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as problem:
        message = f"expected a token in the file {path!r}, but: {problem}"
        raise ConfigurationError(message) from problem
    if not token:
        message = f"expected a token in the file {path!r}, but it is empty"
        raise ConfigurationError(message)
    return token


def announced_url(directory: Path) -> str:
    """The address of the gateway of `engine dev` in a directory, "" where none is said."""
    try:
        return (directory / ADDRESS_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@contextmanager
def announcing(directory: Path, url: str) -> Iterator[None]:
    """Commands in the directory find the gateway meanwhile."""
    file = directory / ADDRESS_FILE
    file.write_text(f"{url}\n", encoding="utf-8")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
