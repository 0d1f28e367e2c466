"""A thread that follows a topic from where it ended, for as long as the gateway is open. It judges nothing.

A log that can't be read is tried again; what was read is not read twice.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import closing

from engine.client.connection import Tail
from engine.client.errors import UnreachableError, faults_made_public
from engine.errors import ConfigurationError
from engine.partition.ports import Record

log = logging.getLogger(__name__)

POLL_MS = 50
PAUSE_S = 0.5
CLOSE_S = 3.0

# Takes records and where the tail stands behind them; returns from where another tail would go on.
Take = Callable[[list[Record], Mapping[int, int]], Mapping[int, int]]


class Follower:
    """`take` is called by the thread alone, and `restart` before a new tail begins.

    It goes on where the last one ended: then it is told None. Where the topic no longer holds that, it begins
    at the present end, which is told.
    """

    def __init__(
        self,
        name: str,
        open_tail: Callable[[], Tail],
        ends: Callable[[], dict[int, int]],
        take: Take,
        restart: Callable[[Mapping[int, int] | None], None],
    ) -> None:
        self._open_tail = open_tail
        self._ends = ends
        self._take = take
        self._restart = restart
        self._positions: dict[int, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(name,), name=name, daemon=True)
        # Whether the log could be read when it was last tried.
        self.is_following = False
        self.failure: BaseException | None = None

    def start(self) -> dict[int, int]:
        """Begins, and says from where. Raises UnreachableError."""
        self._positions = self._ends()
        self._thread.start()
        return dict(self._positions)

    def close(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def _run(self, name: str) -> None:
        try:
            while not self._stopping.is_set():
                self._try_to_follow(name)
                self._stopping.wait(PAUSE_S)
        except BaseException as problem:
            log.critical("the thread %s ended by a bug of its own", name, exc_info=problem)
            self.failure = problem
        finally:
            self.is_following = False

    def _try_to_follow(self, name: str) -> None:
        try:
            with faults_made_public():
                self._follow()
        except UnreachableError as problem:
            log.warning("%s can't read its topic, and tries again: %s", name, problem)
        except ConfigurationError as problem:
            log.warning("%s goes on from the end: %s", name, problem)
            self._positions = {}
        finally:
            self.is_following = False

    def _follow(self) -> None:
        with closing(self._open_tail()) as tail:
            is_lost = not self._positions
            # Asked in any case: a tail tells that nothing came, and not that somebody answers.
            ends = self._ends()
            self._positions = self._positions or ends
            self._restart(dict(self._positions) if is_lost else None)
            tail.follow(dict(self._positions))
            while not self._stopping.is_set():
                records = tail.poll(POLL_MS)
                if tail.is_down:
                    message = "nobody answers any more"
                    raise UnreachableError(message)
                self.is_following = True
                self._positions |= self._take(records, tail.positions())
