"""What is done to many at once: looked at first, agreed to, then done part by part, with a meter."""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

import click
import msgspec

from engine.cli.access import BulkVerb, Round
from engine.cli.opening import AppOptions
from engine.cli.options import app_options, example, filter_options, format_option
from engine.cli.progress import meter
from engine.cli.show import printable, show
from engine.client.reading import Filter

F = TypeVar("F", bound=Callable[..., Any])

REFUSED_EXIT = 1
NAMES_SHOWN_MAX = 20


class Doing(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done to many, and how it is said."""

    verb: str
    things: str
    form: str
    is_dry_run: bool
    is_agreed: bool


def earnest_options(command: F) -> F:
    """Decorator: `is_dry_run`, and `is_agreed` where nobody is to be asked."""
    dry = click.option("--dry-run", "is_dry_run", is_flag=True, help="Only say which are meant.")
    yes = click.option("--yes", "is_agreed", is_flag=True, help="Do it without asking.")
    return dry(yes(command))


def do_to_many(doing: Doing, names: list[str], rounds: Callable[[], Iterable[Round]]) -> None:
    """Does it, unless it is only looked at or not agreed to, and shows what it came to."""
    if doing.is_dry_run or not names:
        _show_meant(doing, names)
        return
    if not doing.is_agreed:
        _ask(doing, len(names))
    matched = done = refused = 0
    with meter(f"{doing.verb} {doing.things}", lambda line: click.echo(line, err=True)) as show_progress:
        for each in rounds():
            matched, done, refused = matched + len(each.names), done + each.done, refused + each.refused
            show_progress(matched, max(len(names), matched))
    _show_outcome(doing, matched, done, refused)


def _ask(doing: Doing, count: int) -> None:
    if not is_terminal():
        message = (
            f"expected --yes to {doing.verb} {count:,} {doing.things} unasked, or --dry-run to look at them, "
            "for there is no terminal to ask on"
        )
        raise click.UsageError(message)
    click.confirm(f"{doing.verb} {count:,} {doing.things}?", abort=True, err=True)


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _show_meant(doing: Doing, names: list[str]) -> None:
    value = {"command": doing.verb, "dry_run": doing.is_dry_run, "matched": len(names), "names": names}

    def for_people() -> None:
        for name in names[:NAMES_SHOWN_MAX]:
            click.echo(printable(name))
        if len(names) > NAMES_SHOWN_MAX:
            click.echo(f"… and {len(names) - NAMES_SHOWN_MAX:,} more")
        click.echo(f"{len(names):,} {doing.things} to {doing.verb}; nothing was done", err=True)

    show(doing.form, value, for_people)


def _show_outcome(doing: Doing, matched: int, done: int, refused: int) -> None:
    value = {
        "command": doing.verb,
        "dry_run": False,
        "matched": matched,
        "done": done,
        "refused": refused,
        "undecided": matched - done - refused,
    }
    text = f"{doing.verb}: {done:,} of {matched:,} {doing.things}"
    if refused:
        text += f", {refused:,} refused"
    if matched - done - refused:
        text += f", {matched - done - refused:,} undecided"
    show(doing.form, value, lambda: click.echo(text))
    if refused:
        click.get_current_context().exit(REFUSED_EXIT)


# --- instances ---


@click.group(
    short_help="Terminate or purge many at once.",
    epilog=example("engine bulk purge --status COMPLETED --until -30d --dry-run"),
)
def bulk() -> None:
    """Terminate or purge all instances that a filter means.

    Killed half-way it has done some and not others: the same line again does the rest.
    """


def _bulk_options(command: F) -> F:
    every = click.option("--all", "means_all", is_flag=True, help="Mean all, where no filter is given.")
    return filter_options(every(earnest_options(format_option(app_options(command)))))


@bulk.command(
    short_help="Terminate many instances.",
    epilog=example("engine bulk terminate --name order --since -1h --dry-run"),
)
@_bulk_options
def terminate(**values: Any) -> None:
    """End all instances that the filter means and that are not over, their children too."""
    _carry_out(BulkVerb.TERMINATE, **values)


@bulk.command(
    short_help="Purge many instances.",
    epilog=example("engine bulk purge --status COMPLETED --until -30d --yes"),
)
@_bulk_options
def purge(**values: Any) -> None:
    """Remove all finished instances that the filter means, their children and their history, for good."""
    _carry_out(BulkVerb.PURGE, **values)


def _carry_out(verb: BulkVerb, app: AppOptions, wanted: Filter, form: str, **values: Any) -> None:
    if wanted == Filter() and not values["means_all"]:
        message = f"expected a filter that says which instances to {verb}, or --all, but got none"
        raise click.UsageError(message)
    doing = Doing(
        verb=verb.value,
        things="instances",
        form=form,
        is_dry_run=values["is_dry_run"],
        is_agreed=values["is_agreed"],
    )
    with app.open() as access:
        names = list(_names(access.bulk(verb, wanted, is_dry_run=True)))
        do_to_many(doing, names, lambda: access.bulk(verb, wanted, is_dry_run=False))


def _names(rounds: Iterator[Round]) -> Iterable[str]:
    return chain.from_iterable(each.names for each in rounds)
