"""`engine gateway`: serves an app over HTTP, beside its workers or far from them. It owns no partition."""

import logging
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from engine.cli.beginning import rebuild_of, showing
from engine.cli.ending import serve_and_end
from engine.cli.logs import configure_logging
from engine.cli.opening import LogOptions
from engine.cli.options import log_options
from engine.cli.serving import (
    host_option,
    metrics_host_option,
    metrics_port_option,
    port_option,
    serving,
    settings_of,
)
from engine.client.errors import UnreachableError
from engine.gateway.endpoint import Endpoint
from engine.gateway.server import GatewaySettings
from engine.node.process import FAULT_EXIT, StopRequest, end_process
from engine.projection import Split
from engine.settings import LOG_FORMATS, LOG_LEVELS

logger = logging.getLogger(__name__)

PROJECTIONS_MAX = 64
STATE_DIRECTORY = Path(".engine/gateway")
EMBEDDED_APP = "dev"


@click.command(short_help="Serve an app over HTTP.")
@host_option
@port_option()
@metrics_port_option
@metrics_host_option
@click.option(
    "--state-dir",
    default="",
    envvar="ENGINE_GATEWAY_DIR",
    show_envvar=True,
    metavar="PATH",
    help="Where the read model is, by default .engine/gateway/<app>. May be deleted: it is rebuilt.",
)
@click.option(
    "--projections",
    type=click.IntRange(1, PROJECTIONS_MAX),
    default=1,
    envvar="ENGINE_PROJECTIONS",
    show_default=True,
    show_envvar=True,
    metavar="COUNT",
    help=(
        "Into how many files the read model is split by partition. Of more than one, each is built by a "
        "process of its own: for history that grows faster than one can follow."
    ),
)
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True)
@click.option("--log-format", type=click.Choice(LOG_FORMATS), default="json", show_default=True)
@log_options
def gateway(log: LogOptions, http_host: str, http_port: int | None, state_dir: str, **values: Any) -> None:
    """Serve Dapr's workflow API, and what goes beyond it, until SIGTERM or SIGINT.

    It reads history into a SQLite file and answers from there. Any number may run, each with a --state-dir of
    its own. A token in ENGINE_API_TOKEN (or DAPR_API_TOKEN) is asked for in the header dapr-api-token.
    /openapi.json describes the API.
    """
    configure_logging(values["log_level"], values["log_format"])
    app_id = log.app or EMBEDDED_APP
    directory = Path(state_dir or STATE_DIRECTORY / app_id)
    settings = settings_of(app_id, directory, http_host, http_port, namespace=log.namespace)
    if values["projections"] > 1:
        configure = partial(configure_logging, values["log_level"], values["log_format"])
        split = Split(files=values["projections"], open_connection=log.open_connection, configure=configure)
        settings = msgspec.structs.replace(settings, split=split)

    def serve() -> int:
        return _run(log, settings, _open_endpoint(values["metrics_host"], values["metrics_port"]))

    serve_and_end(serve)


def _open_endpoint(host: str, port: int) -> Endpoint | None:
    if not port:
        return None
    endpoint = Endpoint(host, port)
    logger.info("metrics are served", extra={"port": endpoint.port})
    return endpoint


def _leave() -> None:
    logger.warning("the gateway ends without waiting for its Kafka any longer: it has nothing to lose")
    end_process(0)


def _run(log: LogOptions, settings: GatewaySettings, endpoint: Endpoint | None) -> int:
    stop = StopRequest(_leave)
    # A gateway may be started before its Kafka is.
    connection = stop.until_reached(log.open_connection, UnreachableError)
    if connection is None:
        return 0
    with closing(connection), serving(connection, settings, stop) as gateway:
        if endpoint is not None:
            endpoint.show(gateway)
        click.echo(f"serving {gateway.url}; Ctrl-C stops")
        with showing(rebuild_of(gateway.projection)):
            stop.asked.wait()
    return FAULT_EXIT if gateway.has_failed else 0
