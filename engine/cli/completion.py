"""`engine completion`: what a shell must read to complete the commands and options of `engine`."""

import click
from click.shell_completion import get_completion_class

from engine.cli.options import example

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_ENGINE_COMPLETE"


@click.command(
    short_help="Print what completes commands in a shell.",
    epilog=example("engine completion bash >> ~/.bashrc"),
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and their values.

    For good: add the line `source <(engine completion bash)` to ~/.bashrc, the same with zsh to ~/.zshrc, or
    write what fish is told to ~/.config/fish/completions/engine.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None, f"click completes in {shell}"
    root = click.get_current_context().find_root()
    click.echo(kind(root.command, {}, "engine", VARIABLE).source())
