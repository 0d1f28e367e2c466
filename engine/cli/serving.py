"""What the commands that serve HTTP share: their options, the token, and a gateway beside other work."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.cli.opening import read_token
from engine.client.connection import Connection
from engine.gateway.server import HOST, PORT, Gateway, GatewaySettings
from engine.node.process import StopRequest

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

PORT_MAX = 65_535

host_option = click.option(
    "--http-host",
    default=HOST,
    envvar="ENGINE_HTTP_HOST",
    show_default=True,
    show_envvar=True,
    metavar="ADDRESS",
    help="Where HTTP is served. An address that others can reach needs a token in ENGINE_API_TOKEN.",
)


def port_option(prose: str = "") -> Callable[[F], F]:
    """Decorator: the port of HTTP; None where it isn't given."""
    return click.option(
        "--http-port",
        type=click.IntRange(0, PORT_MAX),
        envvar="ENGINE_HTTP_PORT",
        show_envvar=True,
        metavar="PORT",
        help=f"The port of HTTP, 0 for any that is free.{prose} [default: {PORT}]",
    )


metrics_port_option = click.option(
    "--metrics-port",
    type=click.IntRange(0, PORT_MAX),
    default=0,
    envvar="ENGINE_METRICS_PORT",
    show_default=True,
    show_envvar=True,
    metavar="PORT",
    help="Where /metrics and /healthz are served. 0 serves none.",
)
metrics_host_option = click.option(
    "--metrics-host",
    default=HOST,
    envvar="ENGINE_METRICS_HOST",
    show_default=True,
    show_envvar=True,
    metavar="ADDRESS",
    help="The address they are served on. They ask for no token.",
)


def settings_of(
    app_id: str, directory: Path, host: str, port: int | None, *, workers: int = 0, namespace: str = "wf"
) -> GatewaySettings:
    """A gateway's settings, with the token of the environment."""
    return GatewaySettings(
        app_id=app_id,
        directory=directory,
        host=host,
        port=PORT if port is None else port,
        token=read_token(),
        workers=workers,
        namespace=namespace,
    )


@contextmanager
def serving(connection: Connection, settings: GatewaySettings, stop: StopRequest) -> Iterator[Gateway]:
    """A gateway beside other work. It begins to end when `stop` is asked for, not when the work has ended."""
    gateway = Gateway(connection, settings, on_shutdown=stop.ask)
    gateway.start()
    log.info("serving HTTP", extra={"url": gateway.url})
    closing = threading.Thread(target=_close, args=(gateway, stop), name="gateway-close", daemon=True)
    closing.start()
    try:
        yield gateway
    finally:
        stop.asked.set()
        closing.join()


def _close(gateway: Gateway, stop: StopRequest) -> None:
    stop.asked.wait()
    gateway.close()
