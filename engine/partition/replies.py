"""Answers that senders of commands asked for, from the header of the inbox record to a record of the commit.

They are written in the transaction that holds what the command did. So a crash gives none twice: the command
is then processed again, and comes to the same.
"""

from collections.abc import Sequence

import msgspec

from engine.codec.avro import encode_reply
from engine.codec.topics import REPLY_TO_HEADER, ReplyTo, parse_reply_to
from engine.model.effects import Rejected
from engine.model.events import InputDeferred, Recorded
from engine.model.reply import Reply
from engine.partition.ports import Record, ReplyRecord

DEFERRED = "recorded, and to be decided when the instance leaves its stall"


class Owed(msgspec.Struct, frozen=True, gc=False):
    """An answer that goes with the commit in the making, which alone knows its place in history."""

    reply_to: ReplyTo
    instance_id: str
    rejected: Rejected | None
    detail: str


def owed_for(record: Record, rejected: Rejected | None, recorded: Sequence[Recorded]) -> Owed | None:
    """What is owed to the sender of an inbox record, None where it did not ask."""
    reply_to = next(
        (parse_reply_to(value) for name, value in record.headers if name == REPLY_TO_HEADER), None
    )
    if reply_to is None:
        return None
    is_deferred = any(type(each.event) is InputDeferred for each in recorded)
    detail = (DEFERRED if is_deferred else "") if rejected is None else rejected.detail
    return Owed(reply_to, record.key.decode("utf-8", "replace"), rejected, detail)


def reply_record(owed: Owed, partition: int, position: int) -> ReplyRecord:
    """The answer as a record; `position` is of the history that shows what the command did."""
    rejected = owed.rejected
    reply = Reply(
        requester=owed.reply_to.requester,
        request_id=owed.reply_to.request_id,
        instance_id=owed.instance_id,
        is_accepted=rejected is None,
        reason="" if rejected is None else rejected.reason.value,
        detail=owed.detail,
        partition=partition,
        position=position,
    )
    return ReplyRecord(reply.requester, reply.request_id.encode(), encode_reply(reply))
