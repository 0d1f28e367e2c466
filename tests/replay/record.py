"""Records golden histories that are not there yet: `python -m tests.replay.record`. Never rewrites one.

A history that today's engine would record otherwise is no reason to rewrite it: it is what a running
instance looks like to the next version. Delete a file by hand where its format was never released.
"""

import sys

from engine.core.apply import apply
from tests.core.driver import World
from tests.replay import golden
from tests.replay.scenarios import SCENARIOS
from tests.replay.workflows import app


def record(feature: str) -> list[golden.Run]:
    """Plays a scenario and takes down all its runs."""
    world = World()
    world.registry = app.registry
    SCENARIOS[feature](world)
    runs = [(instance_id, history) for instance_id, all_runs in world.runs.items() for history in all_runs]
    return [
        golden.Run(feature, instance_id, history, _states(instance_id, history))
        for instance_id, history in runs
    ]


def _states(instance_id, history):
    states, state = [], None
    for recorded in history:
        state = apply(state, instance_id, recorded)
        states.append(golden.plain(state))
    return states


def main() -> None:
    """Records what is missing."""
    for feature in SCENARIOS:
        if not (golden.DIRECTORY / f"{feature}.json").exists():
            sys.stdout.write(f"recorded {golden.write(feature, record(feature))}\n")


if __name__ == "__main__":
    main()
