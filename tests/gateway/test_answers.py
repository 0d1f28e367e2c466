"""What became of a command, as its owner's reply says it; and a gateway that gets none."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

from engine.codec.avro import encode_reply
from engine.codec.topics import REPLY_TO_HEADER, ReplyTo, parse_reply_to
from engine.gateway.answers import Accepted, Answers, Question, Refused, Undecided
from engine.model.reply import Reply
from engine.partition.ports import Record

WAIT_S = 20


class Replies:
    """A topic of replies, written by hand."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.changed = threading.Condition()

    def write(self, key: str, value: bytes) -> None:
        with self.changed:
            self.records.append(Record(0, len(self.records), 0, key.encode(), value))
            self.changed.notify_all()

    # --- the connection's part ---

    def reply_ends(self, requester: str) -> dict[int, int]:
        return {0: len(self.records)}

    def open_reply_tail(self) -> RepliesTail:
        return RepliesTail(self)


class RepliesTail:
    is_down = False

    def __init__(self, replies: Replies) -> None:
        self.replies = replies
        self.place = 0

    def follow(self, positions: dict[int, int]) -> None:
        self.place = positions[0]

    def poll(self, timeout_ms: int) -> list[Record]:
        with self.replies.changed:
            self.replies.changed.wait_for(lambda: len(self.replies.records) > self.place, timeout_ms / 1000)
            found = self.replies.records[self.place :]
            self.place += len(found)
        return found

    def positions(self) -> dict[int, int]:
        return {0: self.place}

    def close(self) -> None:
        pass


@asynccontextmanager
async def answering(replies: Replies):
    answers = Answers(replies)
    answers.start()
    try:
        yield answers
    finally:
        await answers.close()


def asked_by(question: Question) -> ReplyTo:
    ((name, value),) = question.headers
    assert name == REPLY_TO_HEADER
    return parse_reply_to(value)


def reply(reply_to: ReplyTo, reason: str = "", detail: str = "") -> bytes:
    made = Reply(
        requester=reply_to.requester,
        request_id=reply_to.request_id,
        instance_id="order-1",
        is_accepted=not reason,
        reason=reason,
        detail=detail,
        partition=2,
        position=109,
    )
    return encode_reply(made)


def run(story) -> None:
    asyncio.run(asyncio.wait_for(story(Replies()), WAIT_S))


def test_a_command_is_accepted_or_refused_as_its_reply_says():
    async def story(replies: Replies) -> None:
        async with answering(replies) as answers:
            with answers.asking() as accepted, answers.asking() as refused:
                to = asked_by(refused)
                replies.write(to.request_id, reply(to, "InstanceNotFound", "no such instance exists"))
                to = asked_by(accepted)
                replies.write(to.request_id, reply(to))
                assert await accepted.answer(WAIT_S) == Accepted(2, 109)
                assert await refused.answer(WAIT_S) == Refused(
                    "InstanceNotFound", "no such instance exists", 2, 109
                )

    run(story)


def test_a_reply_that_is_there_before_anybody_waits_for_it_is_kept():
    async def story(replies: Replies) -> None:
        async with answering(replies) as answers:
            with answers.asking() as early, answers.asking() as later:
                for question in (early, later):
                    replies.write(asked_by(question).request_id, reply(asked_by(question)))
                # By then the first is here too.
                assert await later.answer(WAIT_S) == Accepted(2, 109)
                assert await early.answer(0) == Accepted(2, 109)

    run(story)


def test_replies_to_others_and_such_as_nobody_waits_for_answer_nothing():
    async def story(replies: Replies) -> None:
        async with answering(replies) as answers, answering(replies) as others:
            with answers.asking() as given_up:
                pass
            with answers.asking() as question, others.asking() as another:
                replies.write(asked_by(given_up).request_id, reply(asked_by(given_up)))
                replies.write("somebody-else", reply(asked_by(given_up)))
                replies.write(asked_by(another).request_id, reply(asked_by(another), "InstanceFinished"))
                assert isinstance(await another.answer(WAIT_S), Refused)
                replies.write(asked_by(question).request_id, reply(asked_by(question)))
                assert await question.answer(WAIT_S) == Accepted(2, 109)

    run(story)


def test_a_reply_that_is_told_again_changes_nothing():
    async def story(replies: Replies) -> None:
        async with answering(replies) as answers:
            with answers.asking() as question, answers.asking() as last:
                for each in (question, question, last):
                    replies.write(asked_by(each).request_id, reply(asked_by(each)))
                assert await last.answer(WAIT_S) == Accepted(2, 109)
                assert await question.answer(WAIT_S) == Accepted(2, 109)

    run(story)


def test_a_reply_that_can_t_be_read_answers_nothing_and_holds_nothing_up():
    async def story(replies: Replies) -> None:
        async with answering(replies) as answers:
            with answers.asking() as unread, answers.asking() as question:
                replies.write(asked_by(unread).request_id, b"\xc3\x01of a newer engine")
                replies.write(asked_by(question).request_id, reply(asked_by(question)))
                assert await question.answer(WAIT_S) == Accepted(2, 109)
                assert await unread.answer(0) == Undecided()

    run(story)


def test_without_a_reply_a_question_ends_undecided_when_its_time_is_over():
    async def story(replies: Replies) -> None:
        async with answering(replies) as answers:
            with answers.asking() as question:
                assert await question.answer(0.01) == Undecided()

    run(story)


def test_who_waits_when_the_gateway_ends_is_told_that_nothing_is_known():
    async def story(replies: Replies) -> None:
        async with answering(replies) as answers:
            with answers.asking() as question:
                asked = asyncio.create_task(question.answer(WAIT_S))
                await asyncio.sleep(0)
                await answers.close()
                assert await asked == Undecided()

    run(story)
