"""The owners' thread: claims what the group gives, feeds records to owners, hands them what commits came to.

A claim restores in a thread of its own, so that one large partition holds up no other. Everything else about
owners happens here, in one thread.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial

import msgspec

from engine.errors import CacheCorruptFault, EngineError, LogDamagedFault
from engine.partition.context import OwnerContext
from engine.partition.owner import Owner
from engine.partition.ports import Claim, Clock, CommitResult, Log, Record, Store
from engine.partition.restore import RestoreProgress
from engine.partition.status import OwnerStatus

log = logging.getLogger(__name__)

BACKOFF_MS = 250
BACKOFF_MS_MAX = 10_000
BACKLOG_RECORDS_MAX = 100_000
WAKE_MS_MAX = 50
DAMAGED_CLAIMS = 3
WAITING_MS = 2

StoreOpener = Callable[[int], Store]


class SystemClock:
    """This machine's."""

    def monotonic_ms(self) -> int:
        """See the port."""
        return time.monotonic_ns() // 1_000_000


class _Opened(msgspec.Struct):
    """What a claiming thread came to."""

    partition: int
    owner: Owner | None
    error: BaseException | None
    seconds: float = 0.0
    records: int = 0


class OwnerLoop:
    """All owners of a worker process."""

    def __init__(self, log_port: Log, open_store: StoreOpener, context: OwnerContext, clock: Clock) -> None:
        self.owners: dict[int, Owner] = {}
        self.damaged: dict[int, str] = {}
        self.claims = 0
        self.losses = 0
        # What is assigned and not live yet, and since when.
        self.claiming_since_ms: dict[int, int] = {}
        # Of the last claim of each partition. Any thread may look.
        self.restores: dict[int, RestoreProgress] = {}
        self.beat_at_ms = clock.monotonic_ms()
        self._log = log_port
        self._open_store = open_store
        self._context = context
        self._clock = clock
        self._opening: dict[int, threading.Thread] = {}
        self._opened: queue.SimpleQueue[_Opened] = queue.SimpleQueue()
        self._not_before_ms: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._damage_found: dict[int, int] = {}
        self._is_stopping = False
        self._polled_at = 0.0

    def pass_once(self) -> None:
        """One pass over everything there is to do. Blocks for at most 50 ms."""
        self.beat_at_ms = self._clock.monotonic_ms()
        self._mind_assignment()
        self._take_opened()
        self._gather()
        self._process(self._poll())
        self._context.begin_activities()
        # Few commits are begun while much is under way: who waits longest comes first.
        for owner in sorted(self.owners.values(), key=_waiting_since):
            self._drive(owner, owner.tick)
        for claim, result in self._log.commit_results():
            self._take_result(claim, result)
        self._bury()

    @property
    def is_claiming(self) -> bool:
        """Whether some partition is not live yet."""
        live = all(owner.status is OwnerStatus.LIVE for owner in self.owners.values())
        return bool(self._opening) or not live

    def next_offset(self, partition: int) -> int | None:
        """How far the owner here has processed the inbox: fresher than what is committed."""
        owner = self.owners.get(partition)
        return None if owner is None or owner.turns is None else owner.turns.next_offset

    def stop(self, timeout_s: float) -> None:
        """Commits and closes every owner within the time; abandons what is left."""
        self._is_stopping = True
        deadline = time.monotonic() + timeout_s
        while (self.owners or self._opening) and time.monotonic() < deadline:
            for owner in self.owners.values():
                owner.stop()
            self.pass_once()
        for owner in self.owners.values():
            log.warning(
                "partition %d was not closed in time; the next owner derives it again", owner.claim.partition
            )
            owner.abandon()
        self.owners.clear()

    def abandon(self) -> None:
        """Lets go of every owner without a commit: what they did is derived again by the next."""
        self._is_stopping = True
        for owner in self.owners.values():
            owner.abandon()
        self.owners.clear()

    # --- assignment ---

    def _mind_assignment(self) -> None:
        ours = self._log.assignment()
        for partition in ours:
            if partition not in self.owners and partition not in self._opening:
                self._begin_claim(partition)
        for partition in [each for each in self.claiming_since_ms if each not in ours]:
            del self.claiming_since_ms[partition]
        for partition, owner in self.owners.items():
            if partition not in ours and owner.status is not OwnerStatus.STOPPING:
                owner.stop()

    def _begin_claim(self, partition: int) -> None:
        if self._is_stopping or partition in self.damaged:
            return
        self.claiming_since_ms.setdefault(partition, self._clock.monotonic_ms())
        if self._clock.monotonic_ms() < self._not_before_ms.get(partition, 0):
            return
        thread = threading.Thread(
            target=self._claim, args=(partition,), name=f"claim-{partition}", daemon=True
        )
        self._opening[partition] = thread
        self.claims += 1
        thread.start()

    def _claim(self, partition: int) -> None:
        began = time.monotonic()
        claim: Claim | None = None
        store: Store | None = None
        try:
            claim = self._log.claim(partition)
            store = self._open_store(partition)
            owner = Owner(claim, self._log, store, self._clock, self._context)
            progress = self.restores[partition] = RestoreProgress()
            restored = owner.open(time.time_ns() // 1_000_000, progress)
        except BaseException as error:  # noqa: BLE001 -- told to the loop, which judges it
            if claim is not None:
                self._log.release(claim)
            if store is not None:
                # Left open, it would lock the next claim out of its own cache.
                store.close()
            self._opened.put(_Opened(partition, None, error))
        else:
            seconds = time.monotonic() - began
            self._opened.put(_Opened(partition, owner, None, seconds, restored.records_read))

    def _take_opened(self) -> None:
        while True:
            try:
                opened = self._opened.get_nowait()
            except queue.Empty:
                return
            self._opening.pop(opened.partition).join()
            if opened.owner is None:
                self._claim_failed(opened.partition, opened.error)
                continue
            log.info(
                "partition %d restored: %d records, %.2f s",
                opened.partition,
                opened.records,
                opened.seconds,
                extra={"partition": opened.partition, "offset": opened.owner.turns.next_offset},
            )
            self._damage_found.pop(opened.partition, None)
            self._context.measures.restored(opened.seconds, opened.records)
            self.owners[opened.partition] = opened.owner
            opened.owner.start()

    def _claim_failed(self, partition: int, error: BaseException | None) -> None:
        if self._is_damage(partition, error):
            log.critical("partition %d can't be owned: %s", partition, error, extra={"partition": partition})
            self.damaged[partition] = str(error)
            return
        # A full disk, a lost right, a directory that is open elsewhere: all may be mended while we live.
        if not isinstance(error, EngineError | OSError):
            raise error or AssertionError("a claim without an outcome")
        wait = self._back_off(partition)
        self._context.measures.claim_failures += 1
        text = "partition %d not claimed, again in %d ms: %s"
        log.warning(text, partition, wait, error, extra={"partition": partition})

    def _is_damage(self, partition: int, error: BaseException | None) -> bool:
        """Whether claim after claim has found the log damaged.

        One alone may have seen an inbox that a rival has trimmed behind itself meanwhile.
        """
        if not isinstance(error, LogDamagedFault):
            return False
        found = self._damage_found[partition] = self._damage_found.get(partition, 0) + 1
        return found >= DAMAGED_CLAIMS

    def _back_off(self, partition: int) -> int:
        failures = self._failures[partition] = self._failures.get(partition, -1) + 1
        wait = min(BACKOFF_MS_MAX, BACKOFF_MS << min(failures, 10))
        self._not_before_ms[partition] = self._clock.monotonic_ms() + wait
        return wait

    # --- records and results ---

    def _gather(self) -> None:
        """Waits for company where much is under way; the activities' threads have the interpreter."""
        pace = self._context.pace
        pace.under_way = sum(owner.turns.calls_open for owner in self.owners.values())
        wait = self._polled_at + pace.gather_ms() / 1000 - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._polled_at = time.monotonic()

    def _poll(self) -> list[Record]:
        wake, backlog = WAKE_MS_MAX, 0
        if self._opening:
            wake = 5
        if self._context.pace.has_waiting:
            wake = WAITING_MS
        for owner in self.owners.values():
            wake = min(wake, owner.next_wake_ms())
            backlog += owner.backlog
        if backlog > BACKLOG_RECORDS_MAX:
            return []
        try:
            return self._log.poll(wake)
        except LogDamagedFault as fault:
            self._doubt_place(fault)
            return []

    def _process(self, records: list[Record]) -> None:
        if not records:
            return
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            mine = by_partition.get(record.partition)
            if mine is None:
                mine = by_partition[record.partition] = []
            mine.append(record)
        for partition, mine in by_partition.items():
            owner = self.owners.get(partition)
            if owner is not None:
                self._drive(owner, partial(owner.process, mine))

    def _drive(self, owner: Owner, work: Callable[[], None]) -> None:
        """A cache that proves corrupt costs its partition a new claim, which rebuilds it.

        The neighbours flow.
        """
        try:
            work()
        except CacheCorruptFault as fault:
            owner.status, owner.lost_reason = OwnerStatus.LOST, f"cache: {fault}"
        except LogDamagedFault as fault:
            self._stop_damaged(owner.claim.partition, fault)

    def _doubt_place(self, fault: LogDamagedFault) -> None:
        """Gives up the owner whose place in the inbox is gone.

        A zombie's place is: the rightful owner has trimmed behind itself. Only a new claim tells that from
        damage.
        """
        if fault.partition is None:
            raise fault
        owner = self.owners.get(fault.partition)
        if owner is not None:
            owner.status, owner.lost_reason = OwnerStatus.LOST, f"inbox: {fault}"

    def _stop_damaged(self, partition: int | None, fault: LogDamagedFault) -> None:
        """Stops one partition loudly and for good; raises where nobody knows which."""
        if partition is None:
            raise fault
        log.critical("partition %d can't be owned: %s", partition, fault, extra={"partition": partition})
        self.damaged[partition] = str(fault)
        owner = self.owners.pop(partition, None)
        if owner is not None:
            owner.abandon()

    def _take_result(self, claim: Claim, result: CommitResult) -> None:
        owner = self.owners.get(claim.partition)
        if owner is None or owner.claim.token != claim.token:
            return
        self._drive(owner, partial(owner.on_commit_result, result, time.time_ns() // 1_000_000))
        if owner.status is OwnerStatus.LIVE:
            self._failures.pop(claim.partition, None)
            self.claiming_since_ms.pop(claim.partition, None)

    def _bury(self) -> None:
        for partition, owner in list(self.owners.items()):
            if owner.status is OwnerStatus.CLOSED:
                del self.owners[partition]
                log.info("partition %d released", partition, extra=_where(owner))
            elif owner.status is OwnerStatus.LOST:
                self._bury_lost(partition, owner)

    def _bury_lost(self, partition: int, owner: Owner) -> None:
        # A fence may come from our own transaction's timeout, or from a confused zombie. While the group says
        # that the partition is ours it is claimed again; if it isn't ours, the assignment will say so.
        self.losses += 1
        is_member = self._log.holds_membership(owner.claim)
        wait = self._back_off(partition)
        log.warning(
            "partition %d lost (%s); %s",
            partition,
            owner.lost_reason,
            f"again in {wait} ms" if is_member else "not ours",
            extra=_where(owner),
        )
        # "fenced", "doubt", "cache" or "inbox": what stands before the colon.
        self._context.measures.losses[owner.lost_reason.partition(":")[0]] += 1
        self._context.measures.reclaims += is_member
        owner.abandon()
        del self.owners[partition]


def _where(owner: Owner) -> dict[str, int]:
    return {"partition": owner.claim.partition, "offset": owner.turns.next_offset}


def _waiting_since(owner: Owner) -> int:
    return owner.uncommitted_since_ms
