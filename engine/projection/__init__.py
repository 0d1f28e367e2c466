"""The read model: committed history in a SQLite file, for lists, counts and single instances.

`Projection` writes it, one `Reader` for each thread that asks reads it; `SplitProjection` and `MergedReader`
are the same for several files. It is derived, and may be deleted at any time; nothing here is ever asked by
an owner.
"""

from engine.projection.database import remove
from engine.projection.merged import MergedReader
from engine.projection.projection import Progress, Projection
from engine.projection.reach import Reach
from engine.projection.reader import Order, Reader, decode_mark, encode_mark
from engine.projection.run import Run
from engine.projection.split import Split, SplitProjection
from engine.projection.views import Count, Filter, Instance, InstanceRow, Page

ReadModel = Projection | SplitProjection
AnyReader = Reader | MergedReader

__all__ = [
    "AnyReader",
    "Count",
    "Filter",
    "Instance",
    "InstanceRow",
    "MergedReader",
    "Order",
    "Page",
    "Progress",
    "Projection",
    "Reach",
    "ReadModel",
    "Reader",
    "Run",
    "Split",
    "SplitProjection",
    "decode_mark",
    "encode_mark",
    "remove",
]
