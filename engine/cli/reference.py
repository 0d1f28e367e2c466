"""Writes REFERENCE.md, the reference of the command line, from the commands themselves; a test compares."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from engine.cli.main import EXIT_CODES, cli

REFERENCE = Path(__file__).with_name("REFERENCE.md")


def commands() -> Iterator[tuple[str, click.Command]]:
    """All commands with their full names, groups before what is in them."""
    yield from _walk("engine", cli, click.Context(cli, info_name="engine"))


def _walk(name: str, command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None, f"expected {name} to have {child_name}, for it lists it"
            child_context = click.Context(child, info_name=child_name, parent=context)
            yield from _walk(f"{name} {child_name}", child, child_context)


def help_of(command: click.Command) -> str:
    """A command's help and epilog as they were written, without the marks that are click's."""
    texts = (command.help or "", command.epilog or "")
    return "\n\n".join(inspect.cleandoc(text.replace("\b\n", "")) for text in texts)


def reference() -> str:
    """The whole text."""
    parts = ["# The command line\n\nWritten by `python -m engine.cli.reference`; do not edit.\n"]
    for name, command in commands():
        parts.append(_section(name, command))
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts.append(f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}\n")
    return "\n".join(parts)


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    pieces = " ".join(command.collect_usage_pieces(context))
    text, _, example = help_of(command).partition("Example:\n")
    example = example.partition("\n\n")[0]
    lines = [f"## `{name}`\n", f"    {name} {pieces}\n", text.strip() + "\n"]
    if example:
        lines.append(inspect.cleandoc(example).join(("```sh\n", "\n```\n")))
    rows = [row for row in (_row(parameter, context) for parameter in command.params) if row]
    if rows:
        lines += ["| option | environment | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(parameter: click.Parameter, context: click.Context) -> str:
    if not isinstance(parameter, click.Option) or parameter.hidden:
        return ""
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    names, meaning = record
    # The environment has a column of its own.
    variable = parameter.envvar if isinstance(parameter.envvar, str) else ""
    meaning = meaning.replace(f"env var: {variable}; ", "").replace(f"  [env var: {variable}]", "")
    cells = (f"`{names}`", f"`{variable}`" if variable else "", meaning.replace("  [", " ["))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
