"""The commands about instances. They only ask the app and show what it says."""

from typing import Any

import click

from engine.cli.access import Outcome, Sent, Start
from engine.cli.live import follow_instance, watch_instances
from engine.cli.opening import AppOptions
from engine.cli.options import JSON, TIME, app_options, example, filter_options, format_option, timeout_option
from engine.cli.show import printable, show, show_history, show_state, show_states
from engine.client import WorkflowState, WorkflowStatus, requests
from engine.client.errors import no_instance
from engine.client.reading import Filter
from engine.client.requests import Request
from engine.gateway.waits import Until
from engine.model.failure import Payload

REFUSED_EXIT = 1
SHOWN_MAX = 100
UNDECIDED = "no worker has taken it yet: it is on record, and is decided when one runs"


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
@app_options
def start(app: AppOptions, workflow: str, payload: Payload | None, form: str, **values: Any) -> None:
    """Start a run of WORKFLOW and print its instance id.

    An instance that is still active refuses a second start: then this ends with 1. With --via kafka or dir
    the id is printed once the command is durable, and `engine deadletter list` says of a refusal.
    """
    asked = Start(
        workflow=workflow, payload=payload, instance_id=values["instance_id"], start_at=values["start_at"]
    )
    with app.open() as access:
        sent = access.start(asked)
        if form == "table":
            click.echo(printable(sent.instance_id))
        elif not values["waits"]:
            _show_sent("start", sent, form)
        _warn(sent)
        if values["waits"]:
            if sent.outcome is Outcome.UNDECIDED:
                raise TimeoutError(
                    f"expected a worker to take the start of {sent.instance_id!r}, but none did"
                )
            _show_outcome(access.wait(sent.instance_id, Until.COMPLETED, values["timeout"]), form)


@click.command(
    "raise",
    short_help="Raise an event for an instance.",
    epilog=example("engine raise order-7 paid --data '{\"amount\": 12}'"),
)
@click.argument("instance_id", metavar="INSTANCE")
@click.argument("event")
@click.option("--data", type=JSON, help="What the event carries: JSON, @file or - for stdin.")
@format_option
@app_options
def raise_(app: AppOptions, instance_id: str, event: str, data: Payload | None, form: str) -> None:
    """Bring the external event EVENT to INSTANCE. It waits there until the workflow asks for it."""
    _send(app, "raise", requests.raise_event(instance_id, event, data), form)


@click.command(
    short_help="End an instance where it stands.",
    epilog=example("engine terminate order-7 --output '\"cancelled\"'"),
)
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--output", type=JSON, help="The output it ends with: JSON, @file or - for stdin.")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Its children too.")
@format_option
@app_options
def terminate(app: AppOptions, instance_id: str, output: Payload | None, form: str, **values: Any) -> None:
    """End INSTANCE where it stands. What its activities do at the moment is not undone."""
    _send(app, "terminate", requests.terminate(instance_id, output, recursive=values["recursive"]), form)


@click.command(
    short_help="Let an instance stand still.",
    epilog=example("engine suspend order-7 --reason 'warehouse closed'"),
)
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--reason", help="Why; recorded in history.")
@format_option
@app_options
def suspend(app: AppOptions, instance_id: str, reason: str | None, form: str) -> None:
    """Run none of INSTANCE's workflow code until it is resumed. What arrives meanwhile is recorded."""
    _send(app, "suspend", requests.suspend(instance_id, reason), form)


@click.command(short_help="Let a suspended instance go on.", epilog=example("engine resume order-7"))
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--reason", help="Why; recorded in history.")
@format_option
@app_options
def resume(app: AppOptions, instance_id: str, reason: str | None, form: str) -> None:
    """Let the suspended INSTANCE go on with what arrived meanwhile."""
    _send(app, "resume", requests.resume(instance_id, reason), form)


@click.command(short_help="Remove an instance and its history.", epilog=example("engine purge order-7"))
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Its children too.")
@click.option("--force", is_flag=True, help="Even while it runs.")
@format_option
@app_options
def purge(app: AppOptions, instance_id: str, form: str, **values: Any) -> None:
    """Remove the finished INSTANCE and its history for good.

    A child that still runs stays, and leaves a dead letter that says so: purge it by itself when it has
    ended, or everything at once with --force.
    """
    request = requests.purge(instance_id, recursive=values["recursive"], force=values["force"])
    _send(app, "purge", request, form)


@click.command(short_help="Show an instance.", epilog=example("engine get order-7 --follow"))
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--follow", "follows", is_flag=True, help="Show its events as they come, until it is over.")
@format_option
@app_options
def get(app: AppOptions, instance_id: str, form: str, *, follows: bool) -> None:
    """Show INSTANCE as it is committed now. Ends with 3 where there is none.

    With --follow its history is shown as it grows, and it ends as `engine wait` does. JSON then is an object
    a line.
    """
    with app.open() as access:
        state = access.find(instance_id)
        if state is None:
            raise no_instance(instance_id)
        if not follows:
            show_state(state, form)
            return
        _end_by(follow_instance(access, state, form))


@click.command(short_help="Show what happened to an instance.", epilog=example("engine history order-7"))
@click.argument("instance_id", metavar="INSTANCE")
@format_option
@app_options
def history(app: AppOptions, instance_id: str, form: str) -> None:
    """Show the recorded history of INSTANCE, event by event. Ends with 3 where there is none."""
    with app.open() as access:
        show_history(access.history(instance_id), form)


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
@app_options
def wait(app: AppOptions, instance_id: str, goal: str, timeout: float, form: str) -> None:
    """Wait until INSTANCE has completed, failed or been terminated, and show it.

    Ends with 0 when it completed, 1 when it failed or was terminated, 4 when the time is over.
    """
    timeout_s = requests.check_timeout(timeout)
    with app.open() as access:
        if goal == "start":
            show_state(access.wait(instance_id, Until.STARTED, timeout_s), form)
        else:
            _show_outcome(access.wait(instance_id, Until.COMPLETED, timeout_s), form)


@click.command(
    "list",
    short_help="List instances.",
    epilog=example("engine list --name order --status RUNNING --status FAILED --since -1h --watch"),
)
@filter_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=SHOWN_MAX,
    show_default=True,
    help="Show no more than this, the newest first.",
)
@click.option("--after", metavar="MARK", help="Go on behind this: the mark that the page before was told.")
@click.option("--watch", "watches", is_flag=True, help="Go on showing it as it changes, until Ctrl-C.")
@format_option
@app_options
def list_(app: AppOptions, wanted: Filter, form: str, limit: int, after: str | None, **values: Any) -> None:
    """List the instances on record, the newest first, without payloads.

    With --watch in a pipe, a line comes for each instance that is new or has changed its status. With --via
    kafka or dir each list reads all of history.
    """
    watches: bool = values["watches"]
    if watches and after:
        message = "--watch shows the newest: it can't go on behind --after"
        raise click.UsageError(message)
    with app.open() as access:
        if watches:
            watch_instances(access, wanted, limit, form)
            return
        page = access.instances(wanted, limit, after)
    show_states(page.states, form)
    if page.next is not None:
        click.echo(f"more are not shown; see --limit, or go on with --after {page.next}", err=True)


COMMANDS = (start, raise_, terminate, suspend, resume, purge, get, history, wait, list_)


def _send(app: AppOptions, command: str, request: Request, form: str) -> None:
    with app.open() as access:
        sent = access.send(request)
    _show_sent(command, sent, form)
    _warn(sent)


def _show_sent(command: str, sent: Sent, form: str) -> None:
    value = {"instance_id": sent.instance_id, "command": command, "outcome": sent.outcome.value}
    text = f"{command} {sent.outcome}: {printable(sent.instance_id)}"
    show(form, value, lambda: click.echo(text))


def _warn(sent: Sent) -> None:
    if sent.outcome is Outcome.UNDECIDED:
        click.echo(UNDECIDED, err=True)


def _show_outcome(state: WorkflowState, form: str) -> None:
    show_state(state, form)
    _end_by(state.runtime_status)


def _end_by(status: WorkflowStatus) -> None:
    if status is not WorkflowStatus.COMPLETED:
        click.get_current_context().exit(REFUSED_EXIT)
