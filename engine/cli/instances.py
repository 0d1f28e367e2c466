"""The commands about instances. They only call the client and show what it says."""

from datetime import datetime
from typing import Any

import click

from engine.cli.options import JSON, TIME, LogOptions, example, format_option, log_options, timeout_option
from engine.cli.show import printable, show_history, show_json, show_state, show_states
from engine.client import WorkflowState, WorkflowStatus
from engine.client.errors import no_instance
from engine.model.failure import Payload

REFUSED_EXIT = 1
SHOWN_MAX = 100
_STATUSES = tuple(status.value for status in WorkflowStatus if status is not WorkflowStatus.CONTINUED_AS_NEW)


@click.command(
    short_help="Start a workflow.",
    epilog=example('engine start order --input \'{"item": "tea"}\' --id order-7 --wait'),
)
@click.argument("workflow")
@click.option("--input", "payload", type=JSON, help="The input: JSON, @file or - for stdin.")
@click.option("--id", "instance_id", metavar="INSTANCE", help="The instance id. [default: a random one]")
@click.option("--at", "start_at", type=TIME, help="Not before this time: 2030-01-31T09:00:00Z, or +90s.")
@click.option("--wait", "waits", is_flag=True, help="Wait for the outcome, and show it.")
@timeout_option("How long --wait waits.")
@format_option
@log_options
def start(log: LogOptions, workflow: str, payload: Payload | None, form: str, **values: Any) -> None:
    """Start a run of WORKFLOW and print its instance id.

    The id is printed once the command is durable. An instance that is still active refuses a second
    start: `engine deadletter list` says so.
    """
    instance_id: str | None = values["instance_id"]
    start_at: datetime | None = values["start_at"]
    with log.open_client() as client:
        started = client.schedule_new_workflow(
            workflow, input=payload, instance_id=instance_id, start_at=start_at
        )
        if form == "table":
            click.echo(printable(started))
        elif not values["waits"]:
            show_json({"instance_id": started})
        if values["waits"]:
            state = client.wait_for_workflow_completion(started, timeout_in_seconds=values["timeout"])
            _show_outcome(state, form)


@click.command(
    "raise",
    short_help="Raise an event for an instance.",
    epilog=example("engine raise order-7 paid --data '{\"amount\": 12}'"),
)
@click.argument("instance_id", metavar="INSTANCE")
@click.argument("event")
@click.option("--data", type=JSON, help="What the event carries: JSON, @file or - for stdin.")
@format_option
@log_options
def raise_(log: LogOptions, instance_id: str, event: str, data: Payload | None, form: str) -> None:
    """Bring the external event EVENT to INSTANCE. It waits there until the workflow asks for it.

    A refusal, such as for an instance that does not exist, is found by `engine deadletter list`.
    """
    with log.open_client() as client:
        client.raise_workflow_event(instance_id, event, data=data)
    _show_sent("raise", instance_id, form)


@click.command(
    short_help="End an instance where it stands.",
    epilog=example("engine terminate order-7 --output '\"cancelled\"'"),
)
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--output", type=JSON, help="The output it ends with: JSON, @file or - for stdin.")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Its children too.")
@format_option
@log_options
def terminate(log: LogOptions, instance_id: str, output: Payload | None, form: str, **values: Any) -> None:
    """End INSTANCE where it stands. What its activities do at the moment is not undone.

    A refusal, such as for an instance that does not exist, is found by `engine deadletter list`.
    """
    with log.open_client() as client:
        client.terminate_workflow(instance_id, output=output, recursive=values["recursive"])
    _show_sent("terminate", instance_id, form)


@click.command(
    short_help="Let an instance stand still.",
    epilog=example("engine suspend order-7 --reason 'warehouse closed'"),
)
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--reason", help="Why; recorded in history.")
@format_option
@log_options
def suspend(log: LogOptions, instance_id: str, reason: str | None, form: str) -> None:
    """Run none of INSTANCE's workflow code until it is resumed. What arrives meanwhile is recorded.

    A refusal, such as for an instance that does not exist, is found by `engine deadletter list`.
    """
    with log.open_client() as client:
        client.pause_workflow(instance_id, reason=reason)
    _show_sent("suspend", instance_id, form)


@click.command(short_help="Let a suspended instance go on.", epilog=example("engine resume order-7"))
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--reason", help="Why; recorded in history.")
@format_option
@log_options
def resume(log: LogOptions, instance_id: str, reason: str | None, form: str) -> None:
    """Let the suspended INSTANCE go on with what arrived meanwhile.

    A refusal, such as for an instance that does not exist, is found by `engine deadletter list`.
    """
    with log.open_client() as client:
        client.resume_workflow(instance_id, reason=reason)
    _show_sent("resume", instance_id, form)


@click.command(short_help="Remove an instance and its history.", epilog=example("engine purge order-7"))
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Its children too.")
@click.option("--force", is_flag=True, help="Even while it runs.")
@format_option
@log_options
def purge(log: LogOptions, instance_id: str, form: str, **values: Any) -> None:
    """Remove the finished INSTANCE and its history for good.

    A refusal, such as for an instance that does not exist, is found by `engine deadletter list`.
    """
    with log.open_client() as client:
        client.purge_workflow(instance_id, recursive=values["recursive"], force=values["force"])
    _show_sent("purge", instance_id, form)


@click.command(short_help="Show an instance.", epilog=example("engine get order-7 -o json"))
@click.argument("instance_id", metavar="INSTANCE")
@format_option
@log_options
def get(log: LogOptions, instance_id: str, form: str) -> None:
    """Show INSTANCE as it is committed now. Ends with 3 where there is none."""
    with log.open_client() as client:
        state = client.get_workflow_state(instance_id)
    if state is None:
        raise no_instance(instance_id)
    show_state(state, form)


@click.command(short_help="Show what happened to an instance.", epilog=example("engine history order-7"))
@click.argument("instance_id", metavar="INSTANCE")
@format_option
@log_options
def history(log: LogOptions, instance_id: str, form: str) -> None:
    """Show the recorded history of INSTANCE, event by event. Ends with 3 where there is none."""
    with log.open_client() as client:
        events = client.get_workflow_history(instance_id)
    show_history(events, form)


@click.command(
    short_help="Wait for an instance's outcome.", epilog=example("engine wait order-7 --timeout 30")
)
@click.argument("instance_id", metavar="INSTANCE")
@click.option(
    "--for",
    "goal",
    type=click.Choice(("completion", "start")),
    default="completion",
    show_default=True,
    help="What to wait for.",
)
@timeout_option("How long to wait.")
@format_option
@log_options
def wait(log: LogOptions, instance_id: str, goal: str, timeout: float, form: str) -> None:
    """Wait until INSTANCE has completed, failed or been terminated, and show it.

    Ends with 0 when it completed, 1 when it failed or was terminated, 4 when the time is over.
    """
    with log.open_client() as client:
        if goal == "start":
            show_state(client.wait_for_workflow_start(instance_id, timeout_in_seconds=timeout), form)
            return
        state = client.wait_for_workflow_completion(instance_id, timeout_in_seconds=timeout)
    _show_outcome(state, form)


@click.command(
    "list",
    short_help="List instances.",
    epilog=example("engine list --name order --status RUNNING --status FAILED"),
)
@click.option("--name", help="Only those of this workflow.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(_STATUSES, case_sensitive=False),
    help="Only those of this status; may be repeated.",
)
@click.option("--prefix", default="", help="Only those whose instance id begins like this.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=SHOWN_MAX,
    show_default=True,
    help="Show no more than this, the newest first.",
)
@format_option
@log_options
def list_(log: LogOptions, statuses: tuple[str, ...], form: str, **values: Any) -> None:
    """List the instances on record, the newest first. Reads all of history."""
    with log.open_client() as client:
        found = client.list_workflow_instances(
            name=values["name"], status=statuses, prefix=values["prefix"], fetch_payloads=form == "json"
        )
    limit: int = values["limit"]
    show_states(found[:limit], form)
    if len(found) > limit:
        click.echo(f"{len(found) - limit} more are not shown; see --limit", err=True)


COMMANDS = (start, raise_, terminate, suspend, resume, purge, get, history, wait, list_)


def _show_outcome(state: WorkflowState, form: str) -> None:
    show_state(state, form)
    if state.runtime_status is not WorkflowStatus.COMPLETED:
        click.get_current_context().exit(REFUSED_EXIT)


def _show_sent(command: str, instance_id: str, form: str) -> None:
    if form == "json":
        show_json({"instance_id": instance_id, "sent": command})
    else:
        click.echo(f"{command} sent to {printable(instance_id)}")
