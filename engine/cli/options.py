"""The options that commands share, and how their values are read. Connects to nothing."""

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource
from typing_extensions import override

from engine.cli.opening import GATEWAY_URL, AppOptions, LogOptions, Via
from engine.client.reading import Filter
from engine.client.state import WorkflowStatus
from engine.codec.jsonform import BOM, json_fault
from engine.kafka.settings import KafkaSettings, load_properties
from engine.model.failure import Payload

_WAYS_OF = {
    "gateway": (Via.HTTP,),
    "token_file": (Via.HTTP,),
    "bootstrap_servers": (Via.KAFKA,),
    "config": (Via.KAFKA,),
    "namespace": (Via.KAFKA,),
    "directory": (Via.DIRECTORY, Via.HTTP),
}

F = TypeVar("F", bound=Callable[..., Any])

BOOTSTRAP_PROPERTY = "bootstrap.servers"
PARTITIONS = KafkaSettings(bootstrap_servers="", app="").partitions
FORMATS = ("table", "json", "yaml")
EMBEDDED_DIRECTORY = Path(".engine")
_RELATIVE = re.compile(r"([+-])([0-9]{1,9})(s|m|h|d)")
_STATUSES = tuple(status.value for status in WorkflowStatus if status is not WorkflowStatus.CONTINUED_AS_NEW)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
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
                sign = -1 if relative[1] == "-" else 1
                return datetime.now(UTC) + timedelta(**{_UNITS[relative[3]]: sign * int(relative[2])})
            at = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            at = datetime.min  # noqa: DTZ901 -- refused below, as every time without a zone
        if at.tzinfo is None:
            self.fail(
                "expected a time with its zone such as 2030-01-31T09:00:00Z, or from now such as +90s, +10m, "
                f"+2h or -1d, but got {value!r}",
                param,
                ctx,
            )
        return at


JSON = JsonPayload()
TIME = Moment()


def app_options(command: F) -> F:
    """Decorator: the options that say which app is meant, and which way; the command gets them as `app`."""

    @wraps(command)
    def with_app(*args: Any, **values: Any) -> Any:
        via, gateway, token_file = (values.pop(name) for name in ("via", "gateway", "token_file"))
        log = _take_log(values)
        _check_way(via)
        app = AppOptions(via=Via(via), gateway=gateway, token_file=token_file, log=log)
        return command(*args, app=app, **values)

    decorated: F = _decorated(
        with_app, (_VIA, _GATEWAY, _TOKEN_FILE, _APP, _NAMESPACE, _SERVERS_OF_VIA, _CONFIG, _DIRECTORY)
    )
    return decorated


def filter_options(command: F) -> F:
    """Decorator: the options that say which instances are meant; the command gets them as `wanted`."""

    @wraps(command)
    def with_filter(*args: Any, **values: Any) -> Any:
        wanted = Filter(
            name=values.pop("name"),
            statuses=frozenset(WorkflowStatus(each.upper()) for each in values.pop("statuses")),
            prefix=values.pop("prefix"),
            parent=values.pop("parent"),
            created_from=values.pop("since"),
            created_before=values.pop("until"),
        )
        return command(*args, wanted=wanted, **values)

    decorated: F = _decorated(with_filter, (_NAME, _STATUS, _PREFIX, _PARENT, _SINCE, _UNTIL))
    return decorated


def log_options(command: F) -> F:
    """Decorator: the options that name the log, on Kafka or embedded; the command gets them as `log`."""
    decorated: F = _decorated(_with_log(command), (_APP, _NAMESPACE, _SERVERS, _CONFIG, _DIRECTORY))
    return decorated


def kafka_options(command: F) -> F:
    """Decorator: the same for what there is on Kafka only."""
    decorated: F = _decorated(_with_log(command), (_APP, _NAMESPACE, _SERVERS_REQUIRED, _CONFIG))
    return decorated


def _with_log(command: F) -> Any:
    @wraps(command)
    def with_log(*args: Any, **values: Any) -> Any:
        log = _take_log(values)
        return command(*args, log=log, **values)

    return with_log


def _take_log(values: dict[str, Any]) -> LogOptions:
    config = values.pop("config")
    properties = load_properties(config) if config else {}
    servers = properties.pop(BOOTSTRAP_PROPERTY, "")
    return LogOptions(
        app=values.pop("app"),
        namespace=values.pop("namespace"),
        bootstrap_servers=values.pop("bootstrap_servers") or servers,
        properties=properties,
        config=config,
        directory=values.pop("directory", EMBEDDED_DIRECTORY),
    )


def _check_way(via: str) -> None:
    """Raises UsageError for an option on the command line that this way has no use for."""
    context = click.get_current_context()
    for name, ways in _WAYS_OF.items():
        if via not in ways and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(each.opts[0] for each in context.command.params if each.name == name)
            fitting = " or ".join(f"--via {way}" for way in ways)
            message = f"{option} is of no use with --via {via}; it is for {fitting}"
            raise click.UsageError(message)


def _decorated(command: Any, options: tuple[Callable[[Any], Any], ...]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


def _servers_option(prose: str) -> Callable[[Any], Any]:
    return click.option(
        "--bootstrap-servers",
        default="",
        envvar="ENGINE_BOOTSTRAP_SERVERS",
        show_envvar=True,
        metavar="HOST:PORT",
        help=f"Where Kafka is, several with commas. {prose}",
    )


_VIA = click.option(
    "--via",
    type=click.Choice([way.value for way in Via]),
    default=Via.HTTP.value,
    envvar="ENGINE_VIA",
    show_default=True,
    show_envvar=True,
    help="How the app is reached: by a gateway, or straight by its log, on Kafka or in the directory --dir.",
)
_GATEWAY = click.option(
    "--gateway",
    default="",
    envvar="ENGINE_GATEWAY",
    show_envvar=True,
    metavar="URL",
    help=f"Where the gateway is. [default: that of `engine dev` in --dir, else {GATEWAY_URL}]",
)
_TOKEN_FILE = click.option(
    "--token-file",
    default="",
    envvar="ENGINE_API_TOKEN_FILE",
    show_envvar=True,
    metavar="PATH",
    help="A file with the gateway's token. [default: the token in ENGINE_API_TOKEN or DAPR_API_TOKEN]",
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
_SERVERS_OF_VIA = _servers_option("For --via kafka.")
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
    help="The directory of `engine dev`, with its log and the address of its gateway.",
)

_NAME = click.option("--name", help="Only those of this workflow.")
_STATUS = click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(_STATUSES, case_sensitive=False),
    help="Only those of this status; may be repeated.",
)
_PREFIX = click.option("--prefix", default="", help="Only those whose instance id begins like this.")
_PARENT = click.option("--parent", metavar="INSTANCE", help="Only the children of this instance.")
_SINCE = click.option("--since", type=TIME, help="Only those that began then or later: -1h is an hour ago.")
_UNTIL = click.option("--until", type=TIME, help="Only those that began before.")

format_option = click.option(
    "-o",
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="A table for people; JSON or YAML for programs.",
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
