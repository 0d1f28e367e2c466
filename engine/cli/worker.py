"""`engine worker`: runs an app's workflows on Kafka. Only reads what it is told: engine.node works."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from engine.cli.beginning import rebuild_of, restore_of, showing
from engine.cli.logs import configure_logging
from engine.cli.opening import check_kafka
from engine.cli.options import BOOTSTRAP_PROPERTY
from engine.cli.serving import host_option, port_option, serving, settings_of
from engine.cli.settings import settings_options
from engine.client.opening import open_kafka
from engine.errors import ConfigurationError
from engine.kafka.settings import load_properties
from engine.node.endpoint import Endpoint
from engine.node.process import Assignment, StopRequest, end_process, run_process
from engine.node.state import Slot, take_slots
from engine.node.supervisor import CONFIGURATION_EXIT, Supervisor
from engine.node.worker import Worker
from engine.settings import Settings

STATE_DIRECTORY = Path(".engine/state")


class _Http(msgspec.Struct, frozen=True):
    """Whether and where HTTP is served."""

    is_wanted: bool
    host: str
    port: int | None


@click.command(short_help="Run an app's workflows on Kafka.")
@click.argument("application", metavar="PACKAGE.MODULE:APP")
@settings_options()
@click.option(
    "--http/--no-http",
    "is_wanted",
    envvar="ENGINE_HTTP",
    show_envvar=True,
    help="Serve HTTP too, from the first process: as `engine gateway` does, for small installations.",
)
@host_option
@port_option()
def worker(application: str, **values: Any) -> None:
    """Run the workflows and activities of PACKAGE.MODULE:APP until SIGTERM or SIGINT.

    Start as many as there is work for, on as many machines: they share the partitions and take over
    from each other.
    """
    http = _Http(values.pop("is_wanted"), values.pop("http_host"), values.pop("http_port"))
    try:
        properties = load_properties(values["config"]) if values["config"] else {}
        values["bootstrap_servers"] = values["bootstrap_servers"] or properties.get(BOOTSTRAP_PROPERTY, "")
        settings = Settings(**values)
        check_kafka(settings.bootstrap_servers, settings.app)
        configure_logging(settings.log_level, settings.log_format)
        slots = take_slots(Path(settings.state_dir or STATE_DIRECTORY / settings.app), settings.processes)
    except ConfigurationError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(CONFIGURATION_EXIT) from error
    assignment = Assignment(
        settings=settings, kafka_properties=properties, app=application, is_supervised=len(slots) > 1
    )
    run = partial(run_process, assignment, beside=_with_progress)
    if http.is_wanted:
        # There is one port: the process in the first slot has it, whoever is started again.
        run = partial(_run_with_http, assignment, http, slots[0].number)
    end_process(run(slots[0]) if len(slots) == 1 else Supervisor(slots, run).run())


def _with_progress(
    stop: StopRequest, worker: Worker, endpoint: Endpoint | None
) -> AbstractContextManager[None]:
    return showing(restore_of(worker))


def _run_with_http(assignment: Assignment, http: _Http, number: int, slot: Slot) -> int:
    if slot.number != number:
        return run_process(assignment, slot, _with_progress)

    @contextmanager
    def beside(stop: StopRequest, worker: Worker, endpoint: Endpoint | None) -> Iterator[None]:
        settings = assignment.settings
        told = settings_of(
            settings.app,
            slot.directory / "gateway",
            http.host,
            http.port,
            workers=1,
            namespace=settings.namespace,
        )
        kafka = settings.kafka("gateway", assignment.kafka_properties)
        connection = open_kafka(kafka.bootstrap_servers, kafka.app, kafka.namespace, kafka.extra)
        with (
            closing(connection),
            serving(connection, told, stop) as gateway,
            showing(restore_of(worker), rebuild_of(gateway.projection)),
        ):
            if endpoint is not None:
                endpoint.add(gateway.collector)
            yield

    return run_process(assignment, slot, beside)
