"""The commands about topics, partitions and dead letters: what operators look at, and can replay."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from engine.cli.bulk import Doing, do_to_many, earnest_options
from engine.cli.opening import AppOptions, LogOptions
from engine.cli.options import PARTITIONS, app_options, example, format_option, kafka_options
from engine.cli.progress import paced
from engine.cli.show import show as show_value
from engine.cli.show import show_dead_letter, show_dead_letters, show_partitions, show_table
from engine.client.deadletters import LetterFilter, Place, parse_place, place_text
from engine.errors import InvalidCommandError
from engine.gateway.operators import LETTERS_SHOWN_MAX
from engine.kafka.topics import TopicAdmin

F = TypeVar("F", bound=Callable[..., Any])

CONFIGURATION_EXIT = 5
SHOWN_MAX = 100
RATE = 100.0
RATE_MAX = 10_000.0
ROUND_LETTERS = 100

dev_option = click.option(
    "--dev",
    "is_dev",
    is_flag=True,
    envvar="ENGINE_DEV",
    show_envvar=True,
    help="For a single broker: replication 1. Not for data you need.",
)
partitions_option = click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=PARTITIONS,
    envvar="ENGINE_PARTITIONS",
    show_default=True,
    show_envvar=True,
    help="Partitions of inbox and history; they can't be changed later.",
)


@click.group(
    short_help="Create or check an app's topics.",
    epilog=example("engine topics check --app orders --bootstrap-servers localhost:9092"),
)
def topics() -> None:
    """Create or check the topics of an app on Kafka."""


@topics.command(
    short_help="Create what is missing.",
    epilog=example("engine topics apply --app orders --bootstrap-servers localhost:9092 --dev"),
)
@dev_option
@partitions_option
@format_option
@kafka_options
def apply(log: LogOptions, form: str, partitions: int, *, is_dev: bool) -> None:
    """Create the topics of the app that are missing. Changes none that exists."""
    created = TopicAdmin(log.kafka_settings(is_dev=is_dev, partitions=partitions)).apply()

    def for_people() -> None:
        if created:
            show_table(("created",), [(name,) for name in created])
        else:
            click.echo("all topics exist; 'engine topics check' compares their settings")

    show_value(form, {"created": created}, for_people)


@topics.command(
    short_help="Compare the topics with what they must be.",
    epilog=example("engine topics check --app orders --bootstrap-servers localhost:9092"),
)
@dev_option
@partitions_option
@format_option
@kafka_options
def check(log: LogOptions, form: str, partitions: int, *, is_dev: bool) -> None:
    """Show every way in which the app's topics are not what they must be. Ends with 5 where there is one."""
    differences = TopicAdmin(log.kafka_settings(is_dev=is_dev, partitions=partitions)).check()
    rows = [(each.topic, each.setting, each.expected, each.found) for each in differences]
    columns = ("topic", "setting", "expected", "found")

    def for_people() -> None:
        if rows:
            show_table(columns, rows)
        else:
            click.echo("all topics are as they must be")

    show_value(form, [dict(zip(columns, row, strict=True)) for row in rows], for_people)
    if rows:
        click.get_current_context().exit(CONFIGURATION_EXIT)


@click.command(
    short_help="Show who owns which partition.",
    epilog=example("engine partitions --app orders -o json"),
)
@format_option
@app_options
def partitions(app: AppOptions, form: str) -> None:
    """Show of each partition: its owner, the epoch, what waits, and how many of its instances are not over.

    With --via kafka or dir it reads all of history to count them.
    """
    with app.open() as access:
        show_partitions(access.partitions(), form)


@click.group(short_help="Look at refused records, and replay them.", epilog=example("engine deadletter list"))
def deadletter() -> None:
    """Look at the records that were refused, and why; and publish them once more."""


def letter_options(command: F) -> F:
    """Decorator: which dead letters are meant."""
    reason = click.option("--reason", help="Only those refused for this reason.")
    prefix = click.option("--prefix", default="", help="Only those whose key, an id mostly, begins so.")
    return reason(prefix(command))


@deadletter.command(
    "list",
    short_help="List dead letters.",
    epilog=example("engine deadletter list --reason InstanceAlreadyExists"),
)
@letter_options
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=LETTERS_SHOWN_MAX),
    default=SHOWN_MAX,
    show_default=True,
    help="Show no more than this, the newest first.",
)
@format_option
@app_options
def list_(app: AppOptions, form: str, reason: str | None, prefix: str, limit: int) -> None:
    """List the records that were refused, the newest first. `deadletter show` has all of what is cut here."""
    with app.open() as access:
        found = access.dead_letters(LetterFilter(reason=reason, prefix=prefix), limit)
    show_dead_letters(found.dead_letters, form)
    if found.total > len(found.dead_letters):
        click.echo(f"{found.total - len(found.dead_letters):,} more are not shown; see --limit", err=True)


@deadletter.command(short_help="Show one dead letter.", epilog=example("engine deadletter show 0/17"))
@click.argument("place", metavar="PARTITION/OFFSET")
@format_option
@app_options
def show(app: AppOptions, place: str, form: str) -> None:
    """Show one refused record with its bytes. PARTITION/OFFSET is its place as `deadletter list` shows it."""
    wanted = _place(place)
    with app.open() as access:
        show_dead_letter(access.dead_letter(wanted), form)


@deadletter.command(
    short_help="Publish dead letters once more.",
    epilog=example("engine deadletter replay --reason WorkerCrashed --dry-run"),
)
@click.argument("places", metavar="[PARTITION/OFFSET]...", nargs=-1)
@letter_options
@click.option("--all", "means_all", is_flag=True, help="Mean all, where nothing else says which.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1, max=RATE_MAX),
    default=RATE,
    show_default=True,
    metavar="NUMBER",
    help="How many a second, at most.",
)
@earnest_options
@format_option
@app_options
def replay(app: AppOptions, places: tuple[str, ...], form: str, rate: float, **values: Any) -> None:
    """Publish refused commands once more, as they were: those at PARTITION/OFFSET, or all that are meant.

    Each is replayed once at most: it is published and marked as replayed in one transaction. Killed half-way
    it has replayed some and not others, and none by half; the same line again does the rest. A second replay
    at the same time stops the first. What is refused again is a new dead letter.
    """
    wanted = LetterFilter(
        reason=values["reason"], prefix=values["prefix"], places=frozenset(map(_place, places))
    )
    if wanted == LetterFilter() and not values["means_all"]:
        message = "expected places, --reason, --prefix or --all to say which dead letters, but got none"
        raise click.UsageError(message)
    doing = Doing(
        verb="replay",
        things="dead letters",
        form=form,
        is_dry_run=values["is_dry_run"],
        is_agreed=values["is_agreed"],
    )
    with app.open() as access:
        meant = access.replayable(wanted)
        size = max(1, min(ROUND_LETTERS, int(rate)))
        rounds = paced(access.replay(meant, size), rate)
        do_to_many(doing, [place_text(place) for place in meant], lambda: rounds)


def _place(text: str) -> Place:
    try:
        return parse_place(text)
    except InvalidCommandError as error:
        raise click.BadParameter(str(error), param_hint="PARTITION/OFFSET") from error


COMMANDS = (topics, partitions, deadletter)
