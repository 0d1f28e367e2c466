"""By how much the read model is behind committed history, and for how long. It only looks, now and then."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping

from engine.gateway.service import Service
from engine.telemetry.backlog import Backlog, Waiting

LOOK_S = 1.0


class Lag:
    """What one gateway's read model does not show yet. Looked at by its event loop, read by any thread."""

    def __init__(self) -> None:
        # By partition; replaced as a whole.
        self.waiting: Mapping[int, Waiting] = {}
        self._backlogs: dict[int, Backlog] = defaultdict(Backlog)

    async def watch(self, service: Service) -> None:
        """Looks until it is cancelled."""
        while True:
            self.look(service.feed.reach.positions, service.projection.positions, time.monotonic())
            await asyncio.sleep(LOOK_S)

    def look(self, ends: Mapping[int, int], shown: Mapping[int, int], now: float) -> None:
        """Notes where history ends and up to where it is shown."""
        waiting: dict[int, Waiting] = {}
        for partition, end in ends.items():
            done, backlog = shown.get(partition, 0), self._backlogs[partition]
            backlog.note(now, end)
            waiting[partition] = Waiting(max(0, end - done), backlog.since(done))
        self.waiting = waiting
