"""One answer from several files, each of some partitions. An instance is in one of them: nothing is twice."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice

from engine.client.state import WorkflowHistoryEvent
from engine.codec.topics import partition_of
from engine.model.state import Status
from engine.projection.reader import Order, Reader, encode_mark
from engine.projection.views import Count, Filter, Instance, InstanceRow, Page


class MergedReader:
    """Answers as a `Reader` of everything would. One thread at a time."""

    def __init__(self, readers: Mapping[int, Reader]) -> None:
        """`readers` has for every partition the reader of the file that it is in. Takes them over."""
        self._readers = readers
        self._files = list({id(reader): reader for reader in readers.values()}.values())

    def close(self) -> None:
        """Lets go of the files."""
        for reader in self._files:
            reader.close()

    def positions(self) -> dict[int, int]:
        """By partition, the offset of history that is shown."""
        return {number: at for reader in self._files for number, at in reader.positions().items()}

    # --- one instance ---

    def find(self, instance_id: str) -> Instance | None:
        """See `Reader`."""
        return self._of(instance_id).find(instance_id)

    def history(self, instance_id: str, *, after: int = 0, limit: int = -1) -> list[WorkflowHistoryEvent]:
        """See `Reader`."""
        return self._of(instance_id).history(instance_id, after=after, limit=limit)

    def values(self, instance_id: str, partition: int) -> tuple[int, list[bytes]]:
        """See `Reader`."""
        return self._of(instance_id).values(instance_id, partition)

    def children(self, instance_id: str) -> list[tuple[str, str]]:
        """See `Reader`."""
        return self._of(instance_id).children(instance_id)

    def _of(self, instance_id: str) -> Reader:
        return self._readers[partition_of(instance_id, len(self._readers))]

    # --- many ---

    def page(
        self, wanted: Filter, *, order: Order = Order.NEWEST_FIRST, after: str | None = None, limit: int = 100
    ) -> Page:
        """See `Reader`."""
        pages = [reader.page(wanted, order=order, after=after, limit=limit) for reader in self._files]
        rows = _merged([page.rows for page in pages], order)
        shown = tuple(islice(rows, limit))
        # A file that has more than it said has filled the page already.
        has_more = next(rows, None) is not None or any(page.next_after for page in pages)
        mark = encode_mark(shown[-1].created_at_ms, shown[-1].instance_id) if has_more else None
        return Page(rows=shown, next_after=mark)

    def pages(self, wanted: Filter, after_id: str = "") -> Iterator[InstanceRow]:
        """See `Reader`."""
        return _merged([reader.pages(wanted, after_id) for reader in self._files], Order.BY_ID)

    def live(self) -> dict[int, int]:
        """See `Reader`."""
        return {number: count for reader in self._files for number, count in reader.live().items()}

    def counts(self) -> list[Count]:
        """See `Reader`."""
        totals: Counter[tuple[str, Status]] = Counter()
        for each in chain.from_iterable(reader.counts() for reader in self._files):
            totals[each.workflow, each.status] += each.instances
        return [
            Count(workflow=workflow, status=status, instances=instances)
            for (workflow, status), instances in sorted(totals.items())
        ]


def _merged(
    lists: "list[tuple[InstanceRow, ...]] | list[Iterator[InstanceRow]]", order: Order
) -> Iterator[InstanceRow]:
    if order is Order.BY_ID:
        return heapq.merge(*lists, key=lambda row: row.instance_id)
    return heapq.merge(*lists, key=lambda row: (row.created_at_ms, row.instance_id), reverse=True)
