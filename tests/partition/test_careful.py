"""A careful owner tries few records at a time, and one at a time only where a life has ended."""

from __future__ import annotations

import msgspec
import pytest

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY
from engine.model import commands as cm
from engine.model.checkpoint import Checkpoint
from engine.partition.careful import (
    LIVES_BEFORE_CARE,
    RANGE_RECORDS,
    TRIES_MAX,
    Care,
    Exam,
    poison_offset,
)
from engine.partition.context import OwnerSettings
from engine.partition.ports import Append
from engine.testing.world import Plan, World

END = 1_000
PILL = 137
STEPS_MAX = 20_000


def checkpoint(**fields: int) -> Checkpoint:
    return Checkpoint(
        epoch=0,
        batch=1,
        records=1,
        inbox_topic_id="i",
        timestamp_ms=0,
        digest=b"",
        **{"offset": -1, "lives": 0} | fields,
    )


class Process:
    """Lives of one partition's owner, each from the last commit on; processing PILL ends one."""

    def __init__(self, lives: int) -> None:
        self.committed = checkpoint(lives=lives)
        self.commits = 0

    def live(self) -> bool:
        """Whether it came to the end."""
        self.committed = msgspec.structs.replace(self.committed, lives=self.committed.lives + 1)
        if poison_offset(self.committed) is not None:
            self.commit(self.committed.offset + 1)
        care = Care(Exam(), 0)
        care.begin(self.committed, END)
        offset = self.committed.offset + 1
        while offset < END and care.applies_to(offset):
            self.committed = care.mark(self.committed, offset)
            self.commits += 1
            tried = range(offset, min(END, offset + care.marked_from(offset)))
            if PILL in tried:
                return False
            self.commit(tried[-1])
            offset = self.committed.offset + 1
        return True

    def commit(self, offset: int) -> None:
        self.committed = msgspec.structs.replace(self.committed, offset=offset)
        self.commits += 1


def test_the_record_that_ends_lives_is_found_in_a_bounded_number_of_them():
    process, lives = Process(LIVES_BEFORE_CARE - 1), 1
    while not process.live():
        lives += 1
    # One in its range, the others with itself under trial, and the last lives on.
    assert lives == 1 + TRIES_MAX + 1
    assert process.commits < 2 * (END / RANGE_RECORDS + 2 * RANGE_RECORDS)


@pytest.mark.parametrize("tries", [0, 1, 2])
def test_a_try_that_its_process_outlived_is_taken_back(tries: int):
    exam = Exam()
    before = checkpoint(
        offset=9, lives=LIVES_BEFORE_CARE, trying_offset=10 if tries else -1, trying_count=tries - 1
    )
    if not tries:
        before = msgspec.structs.replace(before, trying_count=0)
    care = Care(exam, 0)
    care.begin(before, END)
    marked = care.mark(before, 10)
    assert marked.trying_count == tries
    care.outlived()

    again = Care(exam, 0).corrected(msgspec.structs.replace(marked, lives=LIVES_BEFORE_CARE + 1))
    assert again == before


def test_a_long_backlog_of_innocent_records_takes_few_commits():
    world = World(Plan(seed=1, clients=0, is_quiet=True))
    broker = world.broker

    def until(condition):
        for _ in range(STEPS_MAX):
            world.view.catch_up()
            if condition():
                return
            world.step()
        pytest.fail("it does not come to that")

    def is_live():
        living = [each for each in world.processes if each is not None]
        return bool(living) and all(each.is_live for each in living)

    def commits() -> list[Checkpoint]:
        records = [each for each in broker.history[0].records if each.key == CHECKPOINT_KEY]
        return [avro.decode_checkpoint(each.value) for each in records if each.value]

    world.settings = OwnerSettings()
    for _ in range(LIVES_BEFORE_CARE):
        until(is_live)
        for process in [each for each in world.processes if each is not None]:
            world.crash(process)
    count = 10 * RANGE_RECORDS
    for number in range(count):
        command = cm.TerminateInstance(instance_id=f"nobody-{number}")
        broker.append_inbox(Append(0, command.instance_id.encode(), avro.encode_command(command)))
    begun = len(commits())
    until(lambda: world.view.checkpoints[0].offset + 1 == broker.inbox[0].end)

    assert len(broker.deadletters.records) == count
    assert any(each.lives >= LIVES_BEFORE_CARE for each in commits())
    assert len(commits()) - begun < 2 * count / RANGE_RECORDS + 5
