"""Settings of a worker as options of a command. Each is declared once, in `engine.settings`."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click

from engine.settings import Declared, declared

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(names: Collection[str] = ()) -> Callable[[F], F]:
    """Decorator: an option for each of these settings, or for all, that its environment variable sets too."""

    def decorate(command: F) -> F:
        for setting in reversed(declared()):
            if not names or setting.name in names:
                command = _option(setting)(command)
        return command

    return decorate


def _option(setting: Declared) -> Callable[[F], F]:
    unit = f" [{setting.unit}]" if setting.unit and setting.unit not in ("path", "duration") else ""
    name = f"{setting.option}/--no-{setting.option[2:]}" if setting.kind is bool else setting.option
    return click.option(
        name,
        setting.name,
        type=click.Choice(setting.choices) if setting.choices else setting.kind,
        default=setting.default,
        envvar=setting.variable,
        show_default=setting.default not in ("", False),
        show_envvar=True,
        metavar=setting.unit.upper() if setting.unit in ("path", "duration") else None,
        help=f"{setting.prose}{unit}",
    )
