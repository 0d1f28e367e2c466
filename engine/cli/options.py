"""Which log a command speaks to, and how its values are read. Connects only when a command asks for it."""

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from typing_extensions import override

from engine.client import WorkflowClient
from engine.client.connection import Connection
from engine.client.opening import open_embedded, open_kafka
from engine.codec.jsonform import BOM, json_fault
from engine.errors import ConfigurationError
from engine.kafka.settings import KafkaSettings, load_properties
from engine.model.failure import Payload

F = TypeVar("F", bound=Callable[..., Any])

BOOTSTRAP_PROPERTY = "bootstrap.servers"
PARTITIONS = KafkaSettings(bootstrap_servers="", app="").partitions
FORMATS = ("table", "json")
EMBEDDED_DIRECTORY = Path(".engine")
_RELATIVE = re.compile(r"\+([0-9]{1,9})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log is: Kafka, or a directory when no server is given."""

    app: str
    namespace: str
    bootstrap_servers: str
    properties: dict[str, str]
    config: str
    directory: Path

    def open_client(self) -> WorkflowClient:
        """A client. Raises UnreachableError, ConfigurationError."""
        return WorkflowClient(self.open_connection())

    def open_connection(self) -> Connection:
        """A client's connection. Raises UnreachableError, ConfigurationError."""
        if not self.bootstrap_servers:
            if not self.directory.is_dir():
                message = (
                    f"expected an embedded log in {str(self.directory)!r}, but there is no such directory; "
                    "start 'engine dev', or name a Kafka with --bootstrap-servers"
                )
                raise ConfigurationError(message)
            return open_embedded(self.directory)
        check_kafka(self.bootstrap_servers, self.app)
        return open_kafka(self.bootstrap_servers, self.app, self.namespace, self.properties)

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


def check_kafka(bootstrap_servers: str, app: str) -> None:
    """Raises UsageError where it isn't said which Kafka, or which app on it."""
    if not bootstrap_servers:
        message = "expected --bootstrap-servers (or ENGINE_BOOTSTRAP_SERVERS), but no Kafka is named"
        raise click.UsageError(message)
    if not app:
        message = "expected --app (or ENGINE_APP), but no app is named"
        raise click.UsageError(message)


def log_options(command: F) -> F:
    """Decorator: the options that name the log, on Kafka or embedded; the command gets them as `log`."""
    return _with_log(command, (_APP, _NAMESPACE, _SERVERS, _CONFIG, _DIRECTORY))


def kafka_options(command: F) -> F:
    """Decorator: the same for what there is on Kafka only."""
    return _with_log(command, (_APP, _NAMESPACE, _SERVERS_REQUIRED, _CONFIG))


def _with_log(command: F, options: tuple[Callable[[Any], Any], ...]) -> F:

    @wraps(command)
    def with_log(*args: Any, **values: Any) -> Any:
        config = values.pop("config")
        properties = load_properties(config) if config else {}
        servers = properties.pop(BOOTSTRAP_PROPERTY, "")
        log = LogOptions(
            app=values.pop("app"),
            namespace=values.pop("namespace"),
            bootstrap_servers=values.pop("bootstrap_servers") or servers,
            properties=properties,
            config=config,
            directory=values.pop("directory", EMBEDDED_DIRECTORY),
        )
        return command(*args, log=log, **values)

    decorated: Any = with_log
    for option in reversed(options):
        decorated = option(decorated)
    result: F = decorated
    return result


def _servers_option(prose: str) -> Callable[[Any], Any]:
    return click.option(
        "--bootstrap-servers",
        default="",
        envvar="ENGINE_BOOTSTRAP_SERVERS",
        show_envvar=True,
        metavar="HOST:PORT",
        help=f"Where Kafka is, several with commas. {prose}",
    )


_APP = click.option("--app", default="", envvar="ENGINE_APP", show_envvar=True, help="The app that is meant.")
_NAMESPACE = click.option(
    "--namespace",
    default="wf",
    envvar="ENGINE_NAMESPACE",
    show_default=True,
    show_envvar=True,
    help="The first part of all topics' names.",
)
_SERVERS = _servers_option("Without it: the embedded log in --dir.")
_SERVERS_REQUIRED = _servers_option("Required, here or in --config.")
_CONFIG = click.option(
    "--config",
    default="",
    envvar="ENGINE_CONFIG",
    show_envvar=True,
    metavar="PATH",
    help="A file of name=value lines for the Kafka client: security, credentials.",
)
_DIRECTORY = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=EMBEDDED_DIRECTORY,
    envvar="ENGINE_DIR",
    show_default=True,
    show_envvar=True,
    help="The directory of the embedded log.",
)

format_option = click.option(
    "-o",
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="A table for people, or JSON.",
)


def example(line: str) -> str:
    """The epilog of a command's help."""
    return f"\b\nExample:\n  {line}"


def timeout_option(prose: str) -> Callable[[F], F]:
    """Decorator: how long to wait."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, max=366 * 24 * 3600),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help=prose,
    )


class JsonPayload(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A JSON value: given, in a file (`@name`) or on stdin (`-`). Carried as it was written."""

    name = "json"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Payload:
        """See click."""
        if isinstance(value, Payload):
            return value
        # Some editors and shells put it before a text; JSON has none.
        text = self._read(value, param, ctx).removeprefix(BOM)
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            option = param.opts[0] if isinstance(param, click.Option) else "the argument"
            if value == "-" or value.startswith("@"):
                self.fail(f"expected JSON in {value!r}, but {json_fault(error)}", param, ctx)
            self.fail(
                f"expected JSON, but got {value!r:.100} ({json_fault(error)}); "
                f"a string needs its own quotes: {option} '\"tea\"', "
                f'an object: {option} \'{{"item": "tea"}}\', a file: {option} @in.json',
                param,
                ctx,
            )
        return Payload(text.strip())

    def _read(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if value == "-":
            return sys.stdin.buffer.read()
        if not value.startswith("@"):
            return value.encode("utf-8", "surrogateescape")
        try:
            return Path(value[1:]).read_bytes()
        except OSError as error:
            self.fail(f"expected a file at {value[1:]!r}, but {error.strerror}", param, ctx)


class StartTime(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A time with its zone, or a time from now."""

    name = "time"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """See click."""
        if isinstance(value, datetime):
            return value
        relative = _RELATIVE.fullmatch(value)
        try:
            if relative is not None:
                return datetime.now(UTC) + timedelta(**{_UNITS[relative[2]]: int(relative[1])})
            at = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            at = datetime.min  # noqa: DTZ901 -- refused below, as every time without a zone
        if at.tzinfo is None:
            self.fail(
                "expected a time with its zone such as 2030-01-31T09:00:00Z, or from now such as +90s, +10m, "
                f"+2h, +1d, but got {value!r}",
                param,
                ctx,
            )
        return at


JSON = JsonPayload()
TIME = StartTime()
