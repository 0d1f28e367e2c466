"""Which inputs a partition has taken in.

The exactness of ingress and channels, carried from checkpoint to checkpoint.
"""

from enum import Enum

from engine.codec.topics import FROM_HEADER, ChannelSource, IngressSource, parse_source
from engine.model.checkpoint import Checkpoint, InMark, SourceMark
from engine.partition.ports import Record


def source_of(record: Record) -> IngressSource | ChannelSource | None:
    """Where an inbox record came from; None for what the partition's owner has appended itself."""
    for name, value in record.headers:
        if name == FROM_HEADER:
            return parse_source(value)
    return None


class Verdict(Enum):
    """What to do with a record, by where it says it comes from."""

    NEW = "new"
    DUPLICATE = "duplicate"
    GAP = "gap"


class Marks:
    """The newest offset per partition of `commands` and number per channel that were taken in."""

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        self._sources: dict[tuple[str, int], int] = {}
        self._received: dict[tuple[str, int], int] = {}
        if checkpoint is not None:
            self._sources = {(m.topic_id, m.partition): m.offset for m in checkpoint.sources}
            self._received = {(m.topic_id, m.partition): m.number for m in checkpoint.received}

    def judge(self, source: IngressSource | ChannelSource) -> Verdict:
        """Whether a record from `source` is news; if so, it counts as taken in from here on."""
        key = (source.topic_id, source.partition)
        if isinstance(source, IngressSource):
            return self._judge_ingress(key, source)
        # A channel is dense and in order: whatever isn't the next number was sent before, or comes again.
        mark = self._received.get(key, 0)
        if source.number <= mark:
            return Verdict.DUPLICATE
        if source.number != mark + 1:
            return Verdict.GAP
        self._received[key] = source.number
        return Verdict.NEW

    def _judge_ingress(self, key: tuple[str, int], source: IngressSource) -> Verdict:
        mark = self._sources.get(key, -1)
        if source.offset <= mark:
            return Verdict.DUPLICATE
        # The record this session sent here before was not seen: taking this one would lose that one for ever.
        if source.previous is not None and source.previous > mark:
            return Verdict.GAP
        self._sources[key] = source.offset
        return Verdict.NEW

    def sources(self) -> tuple[SourceMark, ...]:
        """For the checkpoint."""
        return tuple(SourceMark(topic_id=t, partition=p, offset=o) for (t, p), o in self._sources.items())

    def received(self) -> tuple[InMark, ...]:
        """For the checkpoint."""
        return tuple(InMark(topic_id=t, partition=p, number=n) for (t, p), n in self._received.items())
