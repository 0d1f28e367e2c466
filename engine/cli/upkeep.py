"""The commands about topics and dead letters: what operators look at. Nothing that exists is changed."""

import re
from itertools import islice

import click

from engine.cli.options import PARTITIONS, LogOptions, example, format_option, kafka_options, log_options
from engine.cli.show import show_dead_letter, show_dead_letters, show_json, show_table
from engine.errors import InstanceNotFoundError
from engine.kafka.topics import TopicAdmin

CONFIGURATION_EXIT = 5
SHOWN_MAX = 100

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
    if form == "json":
        show_json({"created": created})
    elif created:
        show_table(("created",), [(name,) for name in created])
    else:
        click.echo("all topics exist; 'engine topics check' compares their settings")


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
    if form == "json":
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        show_table(columns, rows)
    else:
        click.echo("all topics are as they must be")
    if rows:
        click.get_current_context().exit(CONFIGURATION_EXIT)


@click.group(short_help="Look at refused records.", epilog=example("engine deadletter list"))
def deadletter() -> None:
    """Look at the records that were refused, and why."""


@deadletter.command(
    "list",
    short_help="List dead letters.",
    epilog=example("engine deadletter list --reason InstanceAlreadyExists"),
)
@click.option("--reason", help="Only those refused for this reason.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=SHOWN_MAX,
    show_default=True,
    help="Show no more than this, the newest first.",
)
@format_option
@log_options
def list_(log: LogOptions, form: str, reason: str | None, limit: int) -> None:
    """List the records that were refused, the newest first. `deadletter show` has all of what is cut here."""
    with log.open_client() as client:
        found = [letter for letter in client.read_dead_letters() if reason in (None, letter.reason)]
    found.sort(key=lambda letter: letter.refused_at_ms, reverse=True)
    show_dead_letters(found[:limit], form)
    if len(found) > limit:
        click.echo(f"{len(found) - limit} more are not shown; see --limit", err=True)


@deadletter.command(short_help="Show one dead letter.", epilog=example("engine deadletter show 0/17"))
@click.argument("place", metavar="PARTITION/OFFSET")
@format_option
@log_options
def show(log: LogOptions, place: str, form: str) -> None:
    """Show one refused record with its bytes. PARTITION/OFFSET is its place as `deadletter list` shows it."""
    parsed = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,18})", place)
    if parsed is None:
        message = f"expected PARTITION/OFFSET such as 0/17, but got {place!r}"
        raise click.BadParameter(message, param_hint="PARTITION/OFFSET")
    wanted = (int(parsed[1]), int(parsed[2]))
    with log.open_client() as client:
        letters = (each for each in client.read_dead_letters() if (each.partition, each.offset) == wanted)
        found = next(islice(letters, 1), None)
    if found is None:
        message = f"expected a dead letter at {place}, but there is none"
        raise InstanceNotFoundError(message)
    show_dead_letter(found, form)


COMMANDS = (topics, deadletter)
