"""What workflow code may ask for is the same on every replay; and how code is changed under instances."""

import random
from datetime import datetime, timedelta

import engine as wf
from engine.core.turn import replay
from engine.core.values import decode_value
from engine.model import events as ev
from tests.core.driver import World


def asking(ctx, _value):
    """Everything that would differ from replay to replay if it came from the machine."""
    asked = []
    for _ in range(2):
        asked.append(
            [
                str(ctx.now()),
                str(ctx.current_utc_datetime),
                ctx.random().random(),
                str(ctx.uuid4()),
                str(ctx.new_guid()),
                ctx.random_string(8),
                ctx.random_string(8, alphabet="ab"),
                ctx.random_int(),
                ctx.random_int(1, 6),
                ctx.random_choice([1, 2, 3]),
                ctx.instance_id,
                ctx.run_id,
                ctx.workflow_name,
            ]
        )
        yield ctx.call_activity("note", input=asked[-1])
        yield ctx.create_timer(timedelta(hours=1))
    return asked


def test_time_randomness_and_ids_are_the_same_on_every_replay():
    seen = []

    def noting(ctx, value):
        seen.append(value)

    world = World(asking, note=noting)
    world.start(asking)
    for _ in range(2):
        world.run_activities()
        world.advance(hours=1)
    # The driver has replayed the code before every turn; what it returned is of the last replay.
    assert world.output() == seen


def test_two_random_values_are_not_the_same_and_a_uuid_is_a_uuid():
    world = World(asking)
    world.start(asking)
    values = decode_value(world.events(ev.ActivityScheduled)[0].input)
    assert values[3] != values[4]
    assert values[3][14] == "4"
    assert set(values[6]) <= set("ab")
    assert 1 <= values[8] <= 6


def test_two_runs_draw_other_values():
    def drawing(ctx, _value):
        return str(ctx.uuid4())

    world = World(drawing)
    drawn = set()
    for number in range(20):
        world.start(drawing, instance_id=f"i{number}")
        drawn.add(world.output(f"i{number}"))
    assert len(drawn) == 20


def test_the_context_leaves_the_machines_own_randomness_alone():
    def drawing(ctx, _value):
        ctx.random().random()

    random.seed(1)
    expected = random.random()
    random.seed(1)
    world = World(drawing)
    world.start(drawing)
    assert random.random() == expected


def test_time_is_that_of_the_record_and_naive_utc():
    def timed(ctx, _value):
        assert ctx.current_utc_datetime.tzinfo is None
        return str(ctx.current_utc_datetime)

    world = World(timed, now_ms=1_760_000_000_123)
    world.start(timed)
    assert world.output() == str(datetime(2025, 10, 9, 8, 53, 20, 123_000))  # noqa: DTZ001 -- as Dapr gives it


def stepping(ctx, log):
    logger = wf.replay_safe_logger(ctx, "tests.steps")
    for number in range(3):
        logger.info("step %d", number)
        yield ctx.wait_for_external_event("go")


def test_a_line_is_logged_when_the_code_first_gets_there_and_on_no_replay(caplog):
    world = World(stepping)
    with caplog.at_level("INFO", logger="tests.steps"):
        world.start(stepping)
        world.raise_event("go")
        caplog.clear()
        execution = replay(world.registry, "i", world.histories["i"])
        assert caplog.messages == []
        execution.observe(
            ev.Recorded(
                run_id="r", sequence=3, recorded_at_ms=0, inbox_offset=9, event=ev.EventRaised(name="go")
            )
        )
    assert caplog.messages == ["step 2"]
    assert caplog.records[0].instance_id == "i"
    assert caplog.records[0].run_id == world.histories["i"][0].run_id


def test_is_replaying_is_true_on_the_way_and_false_from_where_it_goes_on():
    seen = []

    def watching(ctx, _value):
        for _ in range(3):
            seen.append(ctx.is_replaying)
            yield ctx.wait_for_external_event("go")

    world = World(watching)
    world.start(watching)
    world.raise_event("go")
    seen.clear()
    replay(world.registry, "i", world.histories["i"])
    assert seen == [True, True]


def old_code(ctx, _value):
    yield ctx.wait_for_external_event("go")
    yield ctx.call_activity("old")
    yield ctx.wait_for_external_event("go")
    return "old"


def patched(ctx, _value):
    yield ctx.wait_for_external_event("go")
    if ctx.is_patched("faster"):
        yield ctx.call_activity("new")
    else:
        yield ctx.call_activity("old")
    yield ctx.wait_for_external_event("go")
    return "new" if ctx.is_patched("faster") else "old"


def deploy(world, code, name):
    del world.registry.workflows[name]
    world.registry.add_workflow(code, name)
    seat = world.seat()
    seat.execution.close()
    seat.execution = replay(world.registry, "i", world.histories["i"])


def test_a_new_run_takes_the_patched_branch_and_remembers_it():
    world = World(patched)
    world.start(patched)
    world.raise_event("go")
    assert world.events(ev.PatchApplied) == [ev.PatchApplied(name="faster")]
    world.complete(name="new")
    world.raise_event("go")
    assert world.output() == "new"


def test_a_run_that_is_past_the_change_stays_on_the_old_branch():
    world = World()
    world.registry.add_workflow(old_code, "w")
    world.start("w")
    world.raise_event("go")
    deploy(world, patched, "w")
    world.complete(name="old")
    world.raise_event("go")
    assert world.output() == "old"
    assert world.events(ev.PatchApplied) == []


def test_a_run_that_has_not_come_to_the_change_takes_the_new_branch():
    world = World()
    world.registry.add_workflow(old_code, "w")
    world.start("w")
    deploy(world, patched, "w")
    world.raise_event("go")
    world.complete(name="new")
    world.raise_event("go")
    assert world.output() == "new"
