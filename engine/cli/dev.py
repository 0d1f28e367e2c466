"""`engine dev`: runs an app's workflows on a log in a directory, without a server. Not for data you need."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from engine.cli.beginning import Stage, rebuild_of, restore_of, showing
from engine.cli.ending import serve_and_end
from engine.cli.logs import configure_logging
from engine.cli.opening import announcing
from engine.cli.serving import metrics_port_option, port_option, serving, settings_of
from engine.cli.settings import settings_options
from engine.client.embedded import EmbeddedConnection
from engine.embedded import EmbeddedCommandSource, EmbeddedLags, EmbeddedLog
from engine.gateway.server import HOST, PORT, Gateway, is_taken
from engine.node.endpoint import Endpoint
from engine.node.loading import load_app
from engine.node.process import StopRequest
from engine.node.worker import Worker, WorkerPorts
from engine.partition.ports import Store
from engine.settings import LOG_FORMATS, LOG_LEVELS, Settings, declared
from engine.store.rocks import open_store

NO_PORT = -1
RETENTION = [setting.name for setting in declared() if setting.name.startswith("retention_")]


@click.command(short_help="Run an app's workflows without a Kafka.")
@click.argument("application", metavar="PACKAGE.MODULE:APP")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".engine"),
    envvar="ENGINE_DIR",
    show_default=True,
    show_envvar=True,
    help="Where everything is kept. Delete it to begin anew.",
)
@click.option(
    "--app",
    default="dev",
    envvar="ENGINE_APP",
    show_default=True,
    show_envvar=True,
    help="What the app is called, for calls that name theirs.",
)
@click.option(
    "--http/--no-http", "is_served", default=True, show_default=True, help="Serve Dapr's HTTP API too."
)
@port_option(" Where it isn't given and taken already, any that is free is served on.")
@metrics_port_option
@settings_options(RETENTION)
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="warning", show_default=True)
@click.option("--log-format", type=click.Choice(LOG_FORMATS), default="text", show_default=True)
def dev(
    application: str,
    directory: Path,
    app: str,
    *,
    is_served: bool,
    http_port: int | None,
    metrics_port: int,
    **values: Any,
) -> None:
    """Run PACKAGE.MODULE:APP in this process until Ctrl-C, with all data in one directory.

    The same engine as a worker's, on an embedded log: instances survive a restart, and a kill.
    """
    configure_logging(values.pop("log_level"), values.pop("log_format"))
    port = http_port if is_served else NO_PORT

    def run() -> int:
        settings = Settings(app=app, metrics_port=metrics_port, **values)
        return _run(application, directory, settings, port)

    serve_and_end(run)


def _run(application: str, directory: Path, settings: Settings, port: int | None) -> int:
    stop, app = StopRequest(), settings.app
    registry = load_app(application).registry
    registry.app_id = app
    endpoint = Endpoint(settings.metrics_host, settings.metrics_port) if settings.metrics_port else None
    log = EmbeddedLog(directory)
    history_topic_id = log.identity.history_topic_id

    def open_partition(partition: int) -> Store:
        return open_store(directory / "cache" / f"partition-{partition}", history_topic_id, partition)

    source, lags = EmbeddedCommandSource(log), EmbeddedLags(directory)
    ports = WorkerPorts(log=log, source=source, open_store=open_partition, lags=lags)
    worker = Worker(registry, ports, settings.worker())
    stop.watch(worker)
    if endpoint is not None:
        endpoint.show(worker, app, "wf")
        click.echo(f"metrics:    http://127.0.0.1:{endpoint.port}/metrics")
    click.echo(f"workflows:  {', '.join(sorted(registry.workflows))}")
    click.echo(f"activities: {', '.join(sorted(registry.activities)) or 'none'}")
    click.echo(f"all data is kept in {directory}")
    with _http(log, app, port, stop) as gateway, showing(restore_of(worker), *_rebuild_of(gateway)):
        if endpoint is not None and gateway is not None:
            endpoint.add(gateway.collector)
        worker.run(on_ready=lambda: click.echo(f"ready, {log.identity.partitions} partitions; Ctrl-C stops"))
    click.echo("stopped; the next 'engine dev' goes on from here")
    return 0


@contextmanager
def _http(log: EmbeddedLog, app: str, port: int | None, stop: StopRequest) -> Iterator[Gateway | None]:
    """HTTP beside the worker: on the port that was asked for; else on the usual one, or any that is free."""
    if port == NO_PORT:
        yield None
        return
    if port is None and is_taken(HOST, PORT):
        click.echo(f"port {PORT} is taken: HTTP is served on another; --http-port names one", err=True)
        port = 0
    connection = EmbeddedConnection(log.directory, owner=log)
    settings = settings_of(app, log.directory / "gateway", HOST, port, workers=1)
    with closing(connection), serving(connection, settings, stop) as gateway:
        click.echo(f"serving {gateway.url}")
        with announcing(log.directory, gateway.url):
            yield gateway


def _rebuild_of(gateway: Gateway | None) -> list[Stage]:
    return [] if gateway is None else [rebuild_of(gateway.projection)]
