"""Who asks for a reply is told, with the commit, what became of the command: from `commands` to `replies`."""

from __future__ import annotations

import msgspec
import pytest

from engine.codec import avro
from engine.codec.topics import FROM_HEADER, REPLY_TO_HEADER, partition_of
from engine.model import commands as cm
from engine.model.effects import Reason, Rejected
from engine.model.events import InputDeferred, Recorded
from engine.model.failure import Payload
from engine.model.reply import Reply
from engine.partition.batch import Batch
from engine.partition.ports import Record
from engine.testing import programs
from engine.testing.memory_broker import MemoryBroker
from engine.testing.world import Plan, World

STEPS_MAX = 5_000
PROGRAM = Payload(msgspec.json.encode({"ops": [{"op": "queue", "name": "e", "count": 1}]}))
START = cm.StartInstance(instance_id="a", workflow=programs.WORKFLOW, input=PROGRAM)
NOBODY = cm.TerminateInstance(instance_id="nobody")


@pytest.fixture
def world() -> World:
    return World(Plan(seed=1, clients=0, is_quiet=True))


def ask(broker: MemoryBroker, command: cm.PublicCommand, reply_to: bytes | None) -> None:
    headers = () if reply_to is None else (("trace", b"1"), (REPLY_TO_HEADER, reply_to))
    broker.publish(0, command.instance_id.encode(), avro.encode_command(command), headers)


def settle(world: World) -> list[Reply]:
    for _ in range(STEPS_MAX):
        world.view.catch_up()
        if all(world.is_drained(partition) for partition in range(world.broker.identity.partitions)):
            return [avro.decode_reply(record.value or b"") for record in world.broker.replies.records]
        world.step()
    raise AssertionError("the cluster does not settle")


def test_an_accepted_command_is_told_where_history_shows_it(world: World) -> None:
    ask(world.broker, START, b"gateway-1|7")
    (reply,) = settle(world)

    partition = partition_of("a", world.broker.identity.partitions)
    assert reply == Reply(
        requester="gateway-1",
        request_id="7",
        instance_id="a",
        is_accepted=True,
        reason="",
        detail="",
        partition=partition,
        position=reply.position,
    )
    (record,) = world.broker.replies.records
    assert record.key == b"7"
    shown = [each.offset for each in world.broker.history[partition].records if each.key.startswith(b"a|")]
    assert shown
    assert reply.position > shown[0]


def test_a_refused_command_is_told_why_and_leaves_its_dead_letter_too(world: World) -> None:
    ask(world.broker, NOBODY, b"gateway-1|7")
    (reply,) = settle(world)

    assert (reply.is_accepted, reply.reason) == (False, "InstanceNotFound")
    assert reply.detail == "no such instance exists: 'nobody'"
    assert len(world.broker.deadletters.records) == 1


def test_what_is_no_command_is_answered_too(world: World) -> None:
    world.broker.publish(0, b"a", b"hello", ((REPLY_TO_HEADER, b"gateway-1|7"),))
    (reply,) = settle(world)

    assert (reply.instance_id, reply.is_accepted, reply.reason) == ("a", False, "Malformed")
    assert "expected" in reply.detail


def test_who_does_not_ask_is_told_nothing_and_goes_on_without_a_word_of_it(world: World) -> None:
    ask(world.broker, START, None)
    ask(world.broker, NOBODY, None)

    assert settle(world) == []
    names = {name for inbox in world.broker.inbox_journal for each in inbox for name, _ in each.headers}
    assert names == {FROM_HEADER}


@pytest.mark.parametrize(
    "reply_to", [b"", b"gateway-1", b"a|b|c", b"gate way|7", b"g" * 65 + b"|7", b"g|" + b"7" * 65]
)
def test_who_can_t_be_answered_is_refused_and_nothing_takes_effect(world: World, reply_to: bytes) -> None:
    ask(world.broker, START, reply_to)

    assert settle(world) == []
    (letter,) = world.broker.deadletters.records
    headers = dict(letter.headers)
    assert headers["reason"] == b"InvalidValue"
    assert b"reply-to" in headers["detail"]
    assert b"1 to 64" in headers["detail"]
    assert not [each for history in world.broker.history for each in history.records if b"a|" in each.key]


def test_what_a_stalled_run_keeps_for_later_is_told_as_that() -> None:
    batch, record = Batch(1), Record(2, 7, 0, b"a", b"", ((FROM_HEADER, b""), (REPLY_TO_HEADER, b"g|1")))
    deferred = Recorded(
        run_id="r", sequence=3, recorded_at_ms=0, inbox_offset=7, event=InputDeferred(record=b"")
    )
    batch.add_event([], 3, (b"a|r|3", b"value"))
    batch.answer(record, None, [deferred])

    (told,) = batch.replies(2, history_end=100)
    reply = avro.decode_reply(told.value)
    assert (reply.is_accepted, reply.position, batch.is_urgent) == (True, 102, True)
    assert reply.detail == "recorded, and to be decided when the instance leaves its stall"


def test_what_adds_nothing_to_history_is_shown_by_what_was_there_before() -> None:
    batch, record = Batch(1), Record(2, 7, 0, b"a", b"", ((FROM_HEADER, b""), (REPLY_TO_HEADER, b"g|1")))
    batch.answer(record, Rejected(Reason.INSTANCE_NOT_FOUND))

    (told,) = batch.replies(2, history_end=100)
    assert avro.decode_reply(told.value).position == 100
