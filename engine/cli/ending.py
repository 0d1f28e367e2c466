"""How a command that serves until it is stopped ends: its exit code and last words. Never waits."""

import sys
from collections.abc import Callable

import click

from engine.errors import ConfigurationError, EngineError
from engine.node.process import FAULT_EXIT, end_process, raised_by_code
from engine.node.supervisor import CONFIGURATION_EXIT


def serve_and_end(serve: Callable[[], int]) -> None:
    """Ends the process with what `serve` returns, or with the code of the error it raises."""
    try:
        exit_code = serve()
    except ConfigurationError as error:
        click.echo(f"Error: {error}", err=True)
        exit_code = CONFIGURATION_EXIT
    except EngineError as error:
        click.echo(f"Error: {type(error).__name__}: {error}", err=True)
        exit_code = FAULT_EXIT
    except KeyboardInterrupt as error:
        click.echo(f"Error: {raised_by_code(error)}", err=True)
        exit_code = FAULT_EXIT
    sys.stderr.flush()
    end_process(exit_code)
