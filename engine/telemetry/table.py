"""What a table of metrics is made of: name, kind, labels, meaning with its unit. It holds no number."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

import msgspec

from engine.partition.measures import Histogram


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    # A counter whose name, which is Dapr's, lacks the suffix that makes it one.
    UNTYPED = "untyped"


class Metric(msgspec.Struct, frozen=True):
    """One of them. A counter's name is told with its suffix."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Scaled(msgspec.Struct, frozen=True):
    """A histogram, and how many of its units make one of the metric's."""

    histogram: Histogram
    units: int = 1


# What a table is about.
V = TypeVar("V")

Labels = tuple[str, ...]
Reading = tuple[Labels, float | Scaled]
# What a metric reads now, of whatever the table is about.
Reader = Callable[[V], Iterator[Reading]]


def one(read: Callable[[V], float | Scaled]) -> Reader[V]:
    """A metric without labels."""

    def reader(view: V) -> Iterator[Reading]:
        yield (), read(view)

    return reader
