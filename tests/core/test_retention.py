"""What retention may purge: a finished run, that very run, and not a millisecond before its time."""

import pytest

from engine.model import commands as cm
from engine.model import effects as ef
from engine.model.retention import RetentionPolicy, parse_duration_ms
from engine.model.state import Phase
from tests.core.driver import START_MS, World, refusal, wait


def plain(ctx, value):
    return value


def parent(ctx, _value):
    return (yield ctx.call_child_workflow("plain", input=1, instance_id="c"))


def expire(world, run_id, *, due_at_ms=START_MS, instance_id="i"):
    return world.send(cm.ExpireInstance(instance_id=instance_id, run_id=run_id, due_at_ms=due_at_ms))


def test_a_finished_run_goes_when_its_time_has_come():
    world = World(plain)
    run_id = world.start(plain).recorded[0].run_id
    turn = expire(world, run_id)
    assert turn.is_purged
    assert [effect.run.run_id for effect in turn.effects if isinstance(effect, ef.PurgeRun)] == [run_id]
    assert refusal(world.raise_event("go")) is ef.Reason.INSTANCE_NOT_FOUND


def test_it_stays_where_the_records_clock_says_that_its_time_has_not_come():
    world = World(plain)
    run_id = world.start(plain).recorded[0].run_id
    turn = expire(world, run_id, due_at_ms=world.now_ms + 1)
    assert (turn.is_early, turn.is_purged, turn.effects) == (True, False, [])
    world.now_ms += 1
    assert expire(world, run_id, due_at_ms=world.now_ms).is_purged


def test_a_run_that_has_taken_its_id_stays():
    world = World(plain)
    run_id = world.start(plain, 1).recorded[0].run_id
    world.start(plain, 2)
    assert refusal(expire(world, run_id)) is ef.Reason.SUPERSEDED
    assert world.output() == 2


@pytest.mark.parametrize("is_stalled", [False, True])
def test_a_run_that_is_not_over_stays_and_takes_note_of_nothing(is_stalled):
    world = World()
    world.registry.add_workflow(wait(), "waiting")
    run_id = world.start("waiting").recorded[0].run_id
    if is_stalled:
        world.seats["i"].execution = None
        world.seats["i"].replay_error = "the code is another"
        world.raise_event("go")
    before = world.history()
    assert refusal(expire(world, run_id)) is ef.Reason.SUPERSEDED
    assert world.history() == before


def test_nothing_is_said_of_a_run_that_is_gone_already():
    world = World(plain)
    run_id = world.start(plain).recorded[0].run_id
    world.purge()
    assert refusal(expire(world, run_id)) is ef.Reason.SUPERSEDED


def test_children_are_kept_for_a_time_of_their_own():
    world = World(parent, plain)
    run_id = world.start(parent).recorded[0].run_id
    world.deliver()
    assert expire(world, run_id).is_purged
    assert not world.messages
    assert world.status("c") == "COMPLETED"


def test_what_is_said_of_one_end_beats_what_is_said_of_any():
    policy = RetentionPolicy(any_terminal_ms=5, failed_ms=7)
    assert policy.kept_ms() == {Phase.COMPLETED: 5, Phase.FAILED: 7, Phase.TERMINATED: 5}
    assert RetentionPolicy(terminated_ms=0).kept_ms() == {Phase.TERMINATED: 0}
    assert RetentionPolicy().kept_ms() == {}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("0", 0),
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("1.5h", 5_400_000),
        ("30d", 2_592_000_000),
        ("250ms", 250),
        ("1us", 1),
        ("876000h", 3_153_600_000_000),
    ],
)
def test_durations_are_gos_and_days(text, ms):
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize(
    "text", ["", "90", "-1s", "+1s", "1 day", "1w", "s", "1h30", "1.h", "876001h", "9" * 13 + "s"]
)
def test_what_is_no_duration_is_told_so(text):
    with pytest.raises(ValueError, match=r"^expected a duration (such as 90s|of at most 100 years)"):
        parse_duration_ms(text)
