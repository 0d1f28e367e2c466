"""What became of a command, where the parts of one commit become visible one by one."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

from engine.client.connection import Published, TopicIds
from engine.gateway.answers import Accepted, Answers, Refused, Undecided
from engine.gateway.feed import Mark
from engine.partition.ports import Record

COMMANDS = "commands-1"
WAIT_S = 20
PARTITION = 2


class Letters:
    """A topic of dead letters whose records are written first, and visible when they are committed."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.visible = 0
        self.changed = threading.Condition()
        self.asked = threading.Event()

    def write(self, place: Published) -> None:
        headers = {
            "source.topic": b"commands",
            "source.partition": str(place.partition).encode(),
            "source.offset": str(place.offset).encode(),
            "reason": b"InstanceNotFound",
            "detail": b"no such instance exists",
        }
        self.records.append(Record(0, len(self.records), 0, b"", b"", tuple(headers.items())))

    def commit(self) -> None:
        with self.changed:
            self.visible = len(self.records)
            self.changed.notify_all()

    # --- the connection's part ---

    def topic_ids(self) -> TopicIds:
        return TopicIds(commands=COMMANDS, history="history-1")

    def dead_letter_ends(self, *, is_committed: bool) -> dict[int, int]:
        if not is_committed:
            self.asked.set()
        return {0: self.visible if is_committed else len(self.records)}

    def open_dead_letter_tail(self) -> LettersTail:
        return LettersTail(self)


class LettersTail:
    def __init__(self, letters: Letters) -> None:
        self.letters = letters
        self.place = 0

    def follow(self, positions: dict[int, int]) -> None:
        self.place = positions[0]

    def poll(self, timeout_ms: int) -> list[Record]:
        with self.letters.changed:
            self.letters.changed.wait_for(lambda: self.letters.visible > self.place, timeout_ms / 1000)
            found = self.letters.records[self.place : self.letters.visible]
            self.place = self.letters.visible
        return found

    def positions(self) -> dict[int, int]:
        return {0: self.place}

    def close(self) -> None:
        pass


@asynccontextmanager
async def answering(letters: Letters):
    answers = Answers(letters)
    answers.start()
    try:
        yield answers
    finally:
        await answers.close()


def mark(offset: int, topic_id: str = COMMANDS) -> Mark:
    return Mark(position=100 + offset, offsets={(topic_id, 0): offset})


def run(story) -> None:
    asyncio.run(asyncio.wait_for(story(Letters()), WAIT_S))


def test_a_command_that_is_decided_and_has_no_dead_letter_was_accepted():
    async def story(letters: Letters) -> None:
        async with answering(letters) as answers:
            asked = asyncio.create_task(answers.answer(PARTITION, Published(0, 7), WAIT_S))
            await asyncio.sleep(0)
            answers.on_mark(PARTITION, mark(6))
            answers.on_mark(PARTITION, mark(9))
            assert await asked == Accepted(PARTITION, 109)

    run(story)


def test_a_command_that_was_decided_before_it_was_asked_for_is_answered_too():
    async def story(letters: Letters) -> None:
        async with answering(letters) as answers:
            answers.on_mark(PARTITION, mark(9))
            await asyncio.sleep(0)
            assert await answers.answer(PARTITION, Published(0, 7), WAIT_S) == Accepted(PARTITION, 109)

    run(story)


def test_a_dead_letter_that_is_written_but_not_yet_visible_is_waited_for():
    async def story(letters: Letters) -> None:
        async with answering(letters) as answers:
            asked = asyncio.create_task(answers.answer(PARTITION, Published(0, 7), WAIT_S))
            await asyncio.sleep(0)
            # The commit's marker has reached history, and not yet the dead letters.
            letters.write(Published(0, 7))
            answers.on_mark(PARTITION, mark(7))
            await asyncio.to_thread(letters.asked.wait, WAIT_S)
            assert not asked.done()
            letters.commit()
            assert await asked == Refused("InstanceNotFound", "no such instance exists")

    run(story)


def test_a_dead_letter_of_another_command_refuses_nothing():
    async def story(letters: Letters) -> None:
        async with answering(letters) as answers:
            letters.write(Published(0, 8))
            letters.write(Published(1, 7))
            letters.commit()
            answers.on_mark(PARTITION, mark(9))
            assert await answers.answer(PARTITION, Published(0, 7), WAIT_S) == Accepted(PARTITION, 109)

    run(story)


def test_marks_of_other_partitions_and_topics_decide_nothing():
    async def story(letters: Letters) -> None:
        async with answering(letters) as answers:
            answers.on_mark(PARTITION + 1, mark(9))
            answers.on_mark(PARTITION, mark(9, "commands-0"))
            answers.on_mark(PARTITION, Mark(position=1, offsets={(COMMANDS, 1): 9}))
            assert await answers.answer(PARTITION, Published(0, 7), 0.05) == Undecided()

    run(story)


def test_who_waits_when_the_gateway_ends_is_told_that_nothing_is_known():
    async def story(letters: Letters) -> None:
        async with answering(letters) as answers:
            asked = asyncio.create_task(answers.answer(PARTITION, Published(0, 7), WAIT_S))
            await asyncio.sleep(0)
        assert await asked == Undecided()

    run(story)
