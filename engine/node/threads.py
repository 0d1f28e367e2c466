"""Threads for sync activities, as few awake as the work needs: each that wakes takes the interpreter's lock.

Rules
* A call whose like took long, or that was never seen, has a thread of its own at once, if there is one left.
* Calls whose likes are done in a moment share a thread that is awake: handing each to a thread of its own
  would take longer than the call. If one of them takes long all the same, `wake` gives the others threads.
"""

import threading
import time
from collections.abc import Callable

from engine.model.effects import RunActivity
from engine.node.fairness import FairQueue

Serve = Callable[[RunActivity, int], None]

SHORT_NS = 500_000
STUCK_NS = 2_000_000
# A measured time may hold a wait for the interpreter's lock: a short one proves more than a long one.
DRIFT = 0.05


class _Server:
    """One thread, asleep on its lock or at work since `began_ns`."""

    def __init__(self) -> None:
        self.began_ns = 0
        self.lock = threading.Lock()
        self.lock.acquire()


class ActivityThreads:
    """At most `threads_max` threads. `run` and `wake` are called by the owners' thread.

    Threads are woken when a pass is over: before, they would only contend with it for the interpreter's lock.
    """

    def __init__(self, serve: Serve, threads_max: int) -> None:
        self._serve = serve
        self._threads_max = threads_max
        self._queue = FairQueue()
        self._lock = threading.Lock()
        self._servers = 0
        # Calls since the last `wake` that must not wait behind another.
        self._long = 0
        self._idle: list[_Server] = []
        self._busy: set[_Server] = set()
        self._typical_ns: dict[str, float] = {}
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Calls that no thread has taken up."""
        return len(self._queue)

    def run(self, call: RunActivity, partition: int) -> None:
        """Has it run by a thread, from the next `wake` on."""
        self._queue.put((call, partition))
        if self._typical_ns.get(call.name, SHORT_NS) >= SHORT_NS:
            self._long += 1

    def wake(self) -> None:
        """Sees to it that every call is taken up: at once, or after others that are done in a moment."""
        long, self._long = self._long, 0
        if not self._queue:
            return
        late_ns = time.perf_counter_ns() - STUCK_NS
        with self._lock:
            # For calls that wait behind others, as many as are stuck: if they get stuck too, that doubles.
            wanted = long + sum(server.began_ns < late_ns for server in self._busy)
            if not self._busy:
                wanted = max(wanted, 1)
            for _ in range(min(wanted, len(self._queue))):
                self._wake_one()

    def close(self) -> None:
        """Takes up nothing more; what runs is left to itself."""
        with self._lock:
            self._is_closed = True
            self._queue.clear()
            for server in self._idle:
                server.lock.release()
            self._idle = []

    def _wake_one(self) -> None:
        if self._idle:
            # The one that went to sleep last: its stack and its caches are warm.
            server = self._idle.pop()
            server.began_ns = time.perf_counter_ns()
            self._busy.add(server)
            server.lock.release()
        elif self._servers < self._threads_max:
            server = _Server()
            server.began_ns = time.perf_counter_ns()
            self._busy.add(server)
            self._servers += 1
            name = f"activity-{self._servers}"
            threading.Thread(target=self._work, args=(server,), name=name, daemon=True).start()

    def _work(self, server: _Server) -> None:
        while self._next(server):
            pass

    def _next(self, server: _Server) -> bool:
        """Serves one call, or sleeps until there is one. False at the end."""
        taken = self._queue.take()
        if taken is None:
            return self._sleep(server)
        call, partition = taken
        server.began_ns = began_ns = time.perf_counter_ns()
        self._serve(call, partition)
        took_ns = time.perf_counter_ns() - began_ns
        typical_ns = self._typical_ns.get(call.name)
        if typical_ns is None or took_ns < typical_ns:
            self._typical_ns[call.name] = took_ns
        else:
            self._typical_ns[call.name] = typical_ns + (took_ns - typical_ns) * DRIFT
        return True

    def _sleep(self, server: _Server) -> bool:
        with self._lock:
            if self._is_closed:
                return False
            # Looked at again with the lock: what was put since would find nobody awake.
            if self._queue:
                return True
            self._busy.discard(server)
            self._idle.append(server)
        server.lock.acquire()
        return not self._is_closed
