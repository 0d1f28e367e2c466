"""`engine worker`: runs an app's workflows on Kafka. Only reads what it is told: engine.node works."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.cli.logs import configure_logging
from engine.cli.options import BOOTSTRAP_PROPERTY, check_kafka
from engine.errors import ConfigurationError
from engine.kafka.settings import load_properties
from engine.node.process import Assignment, end_process, run_process
from engine.node.state import take_slots
from engine.node.supervisor import CONFIGURATION_EXIT, Supervisor
from engine.settings import Declared, Settings, declared

F = TypeVar("F", bound=Callable[..., Any])

STATE_DIRECTORY = Path(".engine/state")


def settings_options(command: F) -> F:
    """Decorator: an option for every setting, each of which its environment variable sets too."""
    for setting in reversed(declared()):
        command = _option(setting)(command)
    return command


def _option(setting: Declared) -> Callable[[F], F]:
    unit = f" [{setting.unit}]" if setting.unit and setting.unit != "path" else ""
    name = f"{setting.option}/--no-{setting.option[2:]}" if setting.kind is bool else setting.option
    return click.option(
        name,
        setting.name,
        type=click.Choice(setting.choices) if setting.choices else setting.kind,
        default=setting.default,
        envvar=setting.variable,
        show_default=setting.default not in ("", False),
        show_envvar=True,
        metavar="PATH" if setting.unit == "path" else None,
        help=f"{setting.prose}{unit}",
    )


@click.command(short_help="Run an app's workflows on Kafka.")
@click.argument("application", metavar="PACKAGE.MODULE:APP")
@settings_options
def worker(application: str, **values: Any) -> None:
    """Run the workflows and activities of PACKAGE.MODULE:APP until SIGTERM or SIGINT.

    Start as many as there is work for, on as many machines: they share the partitions and take over
    from each other.
    """
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
    assignment = Assignment(settings=settings, kafka_properties=properties, app=application)
    run = partial(run_process, assignment)
    end_process(run(slots[0]) if len(slots) == 1 else Supervisor(slots, run).run())
