"""Another chance for stalled runs, where the code may be another: replayed again, they go on if they can.

This runs user code, which may end the process. So it comes only when a commit has counted that life, and has
noted the build: a run that killed the process is tried once per build, and never while the owner is careful.
"""

import msgspec

from engine.codec import avro
from engine.core.decide import Seat
from engine.core.turn import (
    STALL_CRASHED,
    STALL_NONDETERMINISM,
    Moment,
    replay,
    take_turn,
    unstall,
)
from engine.errors import NonDeterminismError
from engine.model.checkpoint import Checkpoint
from engine.model.ids import run_id_of_continuation
from engine.partition.batch import Batch
from engine.partition.careful import LIVES_BEFORE_CARE
from engine.partition.deferred import deferred_inputs
from engine.partition.ports import Record
from engine.partition.turns import Turns


class Revival:
    """The stalled runs of one partition that are still to be tried."""

    def __init__(self, turns: Turns, build: str) -> None:
        self._turns = turns
        self._build = build
        self._waiting: list[Seat] = []

    def prepare(self, checkpoint: Checkpoint) -> Checkpoint:
        """Gathers who is to be tried, and notes the build; not while the owner is careful.

        Runs that ended the process are tried where the code is another only.
        """
        if checkpoint.lives >= LIVES_BEFORE_CARE:
            return checkpoint
        kinds = {STALL_NONDETERMINISM}
        if checkpoint.build != self._build:
            kinds.add(STALL_CRASHED)
        self._waiting = [
            seat for seat in self._turns.seats if seat.state is not None and seat.state.stall in kinds
        ]
        return msgspec.structs.replace(checkpoint, build=self._build)

    def go_on(self, batch: Batch, bytes_max: int) -> None:
        """Tries the next ones, as many as one commit may hold."""
        while self._waiting and batch.size < bytes_max:
            self._try(self._waiting.pop(), batch)

    def _try(self, seat: Seat, batch: Batch) -> None:
        """Replays one run with today's code; what was deferred follows."""
        turns, state = self._turns, seat.state
        if state is None or state.is_finished or state.stall is None:
            return  # ended, or purged, since it was gathered
        history = turns.seats.history(seat)
        try:
            seat.execution = replay(turns.registry, seat.instance_id, history)
        except NonDeterminismError:
            return
        offset = turns.next_offset - 1
        moment = Moment(offset=offset, timestamp_ms=state.last_event_at_ms, new_run_id="", record=b"")
        turns.collect(unstall(seat, moment, turns.registry), batch)
        for number, value in enumerate(deferred_inputs(history)):
            key = seat.instance_id.encode()
            record = Record(turns.partition, offset, moment.timestamp_ms, key, value)
            command = avro.decode_command(value)
            new_run_id = run_id_of_continuation(f"{state.run_id}.{number}")
            again = msgspec.structs.replace(moment, record=value, new_run_id=new_run_id)
            turn = take_turn(seat, command, again, turns.registry)
            turns.collect(turn, batch)
            if turn.rejected is not None:
                turns.refuse(batch, record, command, turn.rejected)
