"""What was done to each workflow while its golden history was recorded: one scenario per feature."""

from tests.core.driver import World


def a_chain(world: World) -> None:
    world.start("chain", 1)
    world.settle()


def a_fan_out(world: World) -> None:
    world.start("fan_out", 4)
    for number in (2, 0, 3, 1):
        call = next(call for call in world.calls if call.input.data == str(number).encode())
        world.calls.remove(call)
        world.calls.insert(0, call)
        world.complete(number + 1)


def a_compensation_after_retries(world: World) -> None:
    world.start("compensation", "no luck")
    for _ in range(4):
        world.settle()
        world.advance(seconds=2)


def a_failure(world: World) -> None:
    world.start("failing")
    world.advance(hours=1)


def some_timers(world: World) -> None:
    world.start("timers")
    world.advance(hours=1)
    world.advance(milliseconds=0)


def a_timeout_and_an_event_in_time(world: World) -> None:
    world.start("approval")
    world.advance(hours=1)
    world.raise_event("APPROVE", {"by": "Jane"})


def events_before_their_wait(world: World) -> None:
    world.start("approval", at_ms=world.now_ms + 1_000)
    world.raise_event("approve", 1)
    world.raise_event("Approve", 2)
    world.advance(seconds=1)


def children(world: World) -> None:
    world.start("family", ["chain", "failing", "nowhere"])
    while world.status() != "COMPLETED":
        world.settle()
        world.advance(hours=1)


def a_suspension(world: World) -> None:
    world.start("approval")
    world.suspend()
    world.raise_event("approve", 1)
    world.advance(hours=2)
    world.resume()
    world.raise_event("approve", 2)


def a_termination(world: World) -> None:
    world.start("family", ["failing"])
    world.settle()
    world.terminate(value="enough")
    world.settle()


def continuations(world: World) -> None:
    world.start("counting", 0)
    world.raise_event("later", "kept")
    for _ in range(2):
        world.raise_event("next")
    world.raise_event("next", "stop")


def randomness(world: World) -> None:
    for number in range(4):
        world.start("random_choices", instance_id=f"i{number}")
        world.settle()
    world.advance(seconds=1)


def a_patch(world: World) -> None:
    world.start("patched", 1)
    world.settle()


def a_call_nobody_waits_for(world: World) -> None:
    world.start("forgetful", 1)


def a_run_that_is_still_going(world: World) -> None:
    world.start("chain", 1)
    world.complete(2)


def an_unknown_workflow(world: World) -> None:
    world.start("nowhere")


SCENARIOS = {
    each.__name__: each
    for each in (
        a_chain,
        a_fan_out,
        a_compensation_after_retries,
        a_failure,
        some_timers,
        a_timeout_and_an_event_in_time,
        events_before_their_wait,
        children,
        a_suspension,
        a_termination,
        continuations,
        randomness,
        a_patch,
        a_call_nobody_waits_for,
        a_run_that_is_still_going,
        an_unknown_workflow,
    )
}
