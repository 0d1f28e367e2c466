"""Who asks for a reply is told once, by the commit that decided the command, what became of it."""

from bisect import bisect_left

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY, REPLY_TO_HEADER, ReplyTo, parse_reply_to
from engine.model.reply import Reply
from engine.partition.ports import Record
from engine.testing.evidence import Evidence
from engine.testing.memory_broker import Violation


def check_replies(evidence: Evidence) -> int:
    """I1, I7: who asked has one reply, and finds in history what it speaks of; nobody else has any."""
    told: dict[tuple[str, str], list[Reply]] = {}
    for record in evidence.broker.replies.records:
        reply = avro.decode_reply(record.value or b"")
        told.setdefault((reply.requester, reply.request_id), []).append(reply)
    count = 0
    for record in evidence.broker.published:
        reply_to = _asked(record)
        if reply_to is None:
            continue
        found = told.pop((reply_to.requester, reply_to.request_id), [])
        if len(found) != 1:
            place = (record.partition, record.offset)
            raise Violation(f"I1: the command at {place} asked for a reply, and has {len(found)}")
        _check_reply(evidence, record, found[0])
        count += 1
    if told:
        raise Violation(f"I1: there are replies that nobody asked for: {sorted(told)[:3]}")
    return count


def _asked(record: Record) -> ReplyTo | None:
    return next((parse_reply_to(value) for name, value in record.headers if name == REPLY_TO_HEADER), None)


def _check_reply(evidence: Evidence, record: Record, reply: Reply) -> None:
    place = (record.partition, record.offset)
    refused = evidence.letters[(b"commands", *place)]
    if reply.is_accepted == bool(refused):
        raise Violation(f"I1: the command at {place} left {refused} dead letters, but was told {reply}")
    for landed in evidence.carried.get(place, ()):
        # The number of a record may also be borne by the end of a stall, which came after it.
        felt = [] if landed in evidence.unstalled else evidence.felt_at.get(landed, [])
        for partition, offset in felt[:1]:
            behind = _end_of_commit(evidence, partition, offset)
            if partition != reply.partition or not offset < reply.position <= behind:
                raise Violation(
                    f"I7: {place} is shown by {partition}/{offset} up to {behind}, but was told {reply}"
                )


def _end_of_commit(evidence: Evidence, partition: int, offset: int) -> int:
    journal = evidence.broker.history_journal[partition]
    first = bisect_left(journal, offset, key=lambda record: record.offset)
    return next(each.offset for each in journal[first:] if each.key == CHECKPOINT_KEY) + 1
