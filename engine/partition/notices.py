"""What an operator should hear of: refused records and stalled runs, by name. Never tells a payload."""

from collections import Counter

import msgspec

from engine.codec.topics import IngressSource
from engine.core.decide import Seat
from engine.model import commands as cm
from engine.model import effects as ef
from engine.partition.marks import source_of
from engine.partition.ports import DeadLetter, Record


class Notice(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Something that a commit made true; `partition` and `offset` are of the inbox record that caused it.

    Without the detail of a refusal or a stall: that may quote what was refused.
    """

    what: str
    reason: str
    instance_id: str
    run_id: str = ""
    partition: int
    offset: int


class Stalls:
    """The runs of a partition that are stalled now, and why."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def mind(self, seat: Seat) -> None:
        """To be called where a run may have stalled, or may be stalled no longer."""
        state = seat.state
        if state is None or state.is_finished or state.stall is None:
            self.reasons.pop(seat.instance_id, None)
        else:
            self.reasons[seat.instance_id] = state.stall

    def by_reason(self) -> Counter[str]:
        """How many there are. Any thread."""
        return Counter(list(self.reasons.values()))


def dead_letter(
    partition: int, record: Record, rejected: ef.Rejected, command: cm.Command | None
) -> tuple[DeadLetter, Notice]:
    """What is kept of a refused record, and what is told of it."""
    source = source_of(record)
    if isinstance(source, IngressSource):
        place = (b"commands", source.partition, source.offset)
    else:
        place = (b"inbox", partition, record.offset)
    key, value = record.key, record.value or b""
    if isinstance(command, cm.RefuseRecord):
        key, value = command.key or b"", command.value or b""
    headers = (
        ("source.topic", place[0]),
        ("source.partition", str(place[1]).encode()),
        ("source.offset", str(place[2]).encode()),
        ("reason", rejected.reason.value.encode()),
        ("detail", rejected.detail.encode("utf-8", "replace")),
        ("refused_at_ms", str(record.timestamp_ms).encode()),
    )
    notice = Notice(
        what="dead letter",
        reason=rejected.reason.value,
        # Of what can't be read nobody knows whose it is: its key may be anything.
        instance_id="" if command is None else command.instance_id,
        partition=partition,
        offset=record.offset,
    )
    return DeadLetter(key, value, headers), notice
