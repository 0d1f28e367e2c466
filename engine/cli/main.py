"""The `engine` command: what there is, and how an error ends it. No traceback for what a user can mend."""

import sys
from importlib import import_module
from typing import Any, NoReturn

import click
from typing_extensions import override

from engine import __version__
from engine.cli import bulk, completion, instances, upkeep
from engine.cli.options import example
from engine.cli.show import printable
from engine.client import UnreachableError
from engine.errors import ConfigurationError, EngineError, Fault, InstanceNotFoundError

REFUSED_EXIT = 1
NOT_FOUND_EXIT = 3
TIMEOUT_EXIT = 4
UNREACHABLE_EXIT = 5

EXIT_CODES = {
    0: "done",
    1: "refused, or interrupted; or what was waited for or followed has failed or was terminated",
    2: "the command line was not understood",
    3: "there is no such instance or dead letter",
    4: "the time to wait was over",
    5: "the gateway or the log can't be reached, or the configuration is not what it must be",
    70: "`worker` and `dev`: a turn of workflow code kept its thread for too long",
    78: "`worker`, `dev`, `gateway`: settings or topics that they refuse to run on",
}

# Imported only when asked for: they bring the whole engine with them, and a client should start at once.
_LATE_COMMANDS = {
    "worker": (
        "engine.cli.worker",
        "engine worker shop.orders:app --app orders --bootstrap-servers localhost:9092",
    ),
    "dev": ("engine.cli.dev", "engine dev shop.orders:app"),
    "gateway": (
        "engine.cli.gateway",
        "engine gateway --app orders --bootstrap-servers localhost:9092",
    ),
}


class Commands(click.Group):
    """All commands, the late ones imported by name. An error becomes a line and an exit code."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return sorted([*super().list_commands(ctx), *_LATE_COMMANDS])

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click."""
        late = _LATE_COMMANDS.get(cmd_name)
        if late is None:
            return super().get_command(ctx, cmd_name)
        module, line = late
        command: click.Command = getattr(import_module(module), cmd_name)
        command.epilog = command.epilog or example(line)
        return command

    @override
    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        try:
            return super().invoke(ctx)
        except (EngineError, TimeoutError) as problem:
            click.echo(f"Error: {one_line(str(problem))}", err=True)
            ctx.exit(exit_code_of(problem))


def exit_code_of(problem: EngineError | TimeoutError) -> int:
    """The exit code that an error ends the command with."""
    if isinstance(problem, TimeoutError):
        return TIMEOUT_EXIT
    if isinstance(problem, InstanceNotFoundError):
        return NOT_FOUND_EXIT
    if isinstance(problem, UnreachableError | ConfigurationError | Fault):
        return UNREACHABLE_EXIT
    return REFUSED_EXIT


def one_line(text: str) -> str:
    """An error as one printable line."""
    return printable("; ".join(line.strip() for line in text.splitlines() if line.strip()))


def _epilog() -> str:
    lines = "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())
    first = example('engine start order --input \'{"item": "tea"}\' --wait')
    return f"{first}\n\n\b\nExit codes:\n{lines}"


@click.group(
    cls=Commands,
    epilog=_epilog(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="engine")
def cli() -> None:
    """Durable workflows on Kafka, or on a directory without one.

    Commands ask a gateway over HTTP: that of `engine dev` in this directory, else the one at
    http://127.0.0.1:3500, or where --gateway says. With --via kafka, or --via dir for the log of `engine
    dev`, they go to the log itself, and need no gateway. Every option named [env var: …] can be set by that
    variable.
    """


for _command in (*instances.COMMANDS, bulk.bulk, *upkeep.COMMANDS, completion.completion):
    cli.add_command(_command)


def main() -> NoReturn:
    """The entry point of `engine`."""
    # Invariants are assertions here: without them the engine would go on where it must stop.
    if sys.flags.optimize:
        click.echo(
            "Error: expected Python's assertions to be on, but it runs with -O; run it without", err=True
        )
        raise SystemExit(UNREACHABLE_EXIT)
    cli(prog_name="engine")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
