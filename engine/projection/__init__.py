"""The read model: committed history in a SQLite file, for lists, counts and single instances.

`Projection` writes it, one `Reader` for each thread that asks reads it. It is derived, and may be deleted at
any time; nothing here is ever asked by an owner.
"""

from engine.projection.projection import Progress, Projection
from engine.projection.reach import Reach
from engine.projection.reader import Order, Reader, decode_mark, encode_mark
from engine.projection.run import Run
from engine.projection.views import Count, Filter, Instance, InstanceRow, Page

__all__ = [
    "Count",
    "Filter",
    "Instance",
    "InstanceRow",
    "Order",
    "Page",
    "Progress",
    "Projection",
    "Reach",
    "Reader",
    "Run",
    "decode_mark",
    "encode_mark",
]
