"""History to store to states: what a new owner knows before its first turn.

Never trusts the store over the log.

Theory of operation
* A store is believed only if history holds the very checkpoint that it stands for, or a later one.
* The last checkpoint is looked for from the end, so that everything before it can be taken in as it streams
  by.
* The store is brought to that checkpoint record by record: the last value of a key wins, a tombstone removes
  it.
* A run whose terminal event streams by is folded at once and leaves a stub, so that memory and store hold
  what lives.
* Committed records behind the last checkpoint are torn: a commit applied late, without its checkpoint. They
  are not taken in; the claim's first transaction writes over them what the store says.
* After a full rebuild, count and sum of all records must be what the checkpoint says.
"""

from collections.abc import Iterable, Iterator

import msgspec

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY
from engine.core.apply import account, apply, key_digest
from engine.errors import CacheCorruptFault, LogDamagedFault
from engine.model.checkpoint import Checkpoint
from engine.model.events import Recorded
from engine.model.state import InstanceState, RunStub, stub_of
from engine.partition import keys
from engine.partition.batch import KeyCount
from engine.partition.changes import RunKey
from engine.partition.claiming import damage, is_behind
from engine.partition.ports import Claim, Log, Record, Store, StorePosition
from engine.partition.torn import OUT_PREFIX, Torn, mend

FLUSH_RECORDS = 50_000
HEADER_BYTES = 10
TAIL_RECORDS = 4_000
ATTEMPTS = 3


class Restored(msgspec.Struct, kw_only=True):
    """What is known of the partition at its last checkpoint."""

    checkpoint: Checkpoint | None
    states: dict[str, InstanceState]
    messages: list[tuple[bytes, bytes]]
    torn: list[Torn]
    records_read: int
    was_rebuilt: bool


class _EventsMissing(CacheCorruptFault):
    """A run's events are not dense."""


class _NeedsAllEvents(Exception):
    """A tombstone names an event of a run that was folded to a stub.

    Rebuild, and keep all events to the end.
    """


class RestoreProgress(msgspec.Struct):
    """How much of history a restore has read, and how much it has to. Any thread may look."""

    read: int = 0
    total: int = 0


def restore(
    log: Log, claim: Claim, store: Store, now_ms: int, progress: RestoreProgress | None = None
) -> Restored:
    """Brings `store` to the last checkpoint of the claimed partition and folds its live runs.

    Raises LogDamagedFault, LogUnavailableFault; CacheCorruptFault where a wiped store is corrupt again.
    """
    for attempt in range(ATTEMPTS):
        try:
            restoring = _Restore(log, claim, store, now_ms, keeps_all=attempt > 1)
            return restoring.run(progress or RestoreProgress())
        except _EventsMissing as fault:
            store.wipe()
            if attempt == ATTEMPTS - 1:
                # All of it was read from history just now: there is no store to blame.
                message = f"partition {claim.partition} stops: {fault}; history has lost them"
                raise LogDamagedFault(message, claim.partition) from fault
        except (CacheCorruptFault, _NeedsAllEvents):
            store.wipe()
    message = f"the store of partition {claim.partition} is corrupt even when new"
    raise CacheCorruptFault(message)


def read_run(store: Store, instance_id: str, run_id: str) -> list[Recorded]:
    """The events of a live run, in order. Raises CacheCorruptFault where one is missing."""
    events = [avro.decode_event(value)[1] for _, value in store.scan(keys.run_prefix(instance_id, run_id))]
    if [recorded.sequence for recorded in events] != list(range(1, len(events) + 1)):
        message = f"the store misses events of {instance_id!r}, run {run_id}"
        raise CacheCorruptFault(message)
    return events


class _Restore:
    def __init__(self, log: Log, claim: Claim, store: Store, now_ms: int, *, keeps_all: bool) -> None:
        self._log = log
        self._claim = claim
        self._store = store
        self._now_ms = now_ms
        self._keeps_all = keeps_all
        # Runs whose purge is under way at the last checkpoint: what is left of them in history is of no use.
        self._going: set[RunKey] = set()
        self._runs: dict[RunKey, dict[int, bytes]] = {}
        self._in_store: set[RunKey] = set()
        self._puts: dict[bytes, bytes] = {}
        self._deletes: set[bytes] = set()
        self._is_rebuild = True
        self._read = 0
        self._position = claim.history_start
        self._checkpoint = b""

    def run(self, progress: RestoreProgress) -> Restored:
        """The whole restore."""
        start = self._start()
        end, checkpoint = self._last_checkpoint(start)
        if checkpoint is not None and not is_behind(checkpoint, end):
            what = f"what history held at {checkpoint.history_end} was gone when the next commit came"
            raise damage(self._claim, what)
        for purge in checkpoint.purges if checkpoint is not None else ():
            self._going.add((purge.instance_id, purge.run_id))
            self._drop((purge.instance_id, purge.run_id))
        progress.total = end - start
        for batch in self._log.read_history(self._claim, start, end):
            for record in batch:
                self._take(record)
            progress.read = batch[-1].offset + 1 - start
            if self._pending() >= FLUSH_RECORDS:
                self._flush(batch[-1].offset + 1)
        self._flush(end)
        states, count = self._fold()
        messages = [(key[1:], value) for key, value in self._store.scan(keys.OUTBOX)]
        for message in messages:
            count.add(key_digest(*message))
        if checkpoint is not None:
            self._verify(checkpoint, count)
        return Restored(
            checkpoint=checkpoint,
            states=states,
            messages=messages,
            torn=mend(self._log, self._claim, self._store, end),
            records_read=self._read,
            was_rebuilt=self._is_rebuild,
        )

    def _start(self) -> int:
        position = self._store.position()
        if position is None:
            return self._claim.history_start
        is_usable = (
            position.history_topic_id == self._log.identity.history_topic_id
            and self._claim.history_start <= position.history_position <= self._claim.history_end
            and self._now_ms - position.written_at_ms <= STORE_AGE_MS_MAX
        )
        if not is_usable:
            self._store.wipe()
            return self._claim.history_start
        self._is_rebuild = False
        self._checkpoint = position.checkpoint
        return position.history_position

    def _last_checkpoint(self, start: int) -> tuple[int, Checkpoint | None]:
        """(offset behind the last checkpoint, that checkpoint), looked for from the end."""
        end, window = self._claim.history_end, TAIL_RECORDS
        # The store's own checkpoint lies before its position, or else history has lost it.
        floor = start - 1 if self._checkpoint and start > self._claim.history_start else start
        low = end
        while low > floor:
            low = max(floor, end - window)
            found = None
            for record in self._records(low, end):
                if record.key == CHECKPOINT_KEY and record.value is not None:
                    found = record
            if found is not None and found.value is not None:
                if found.offset < start and found.value != self._checkpoint:
                    break
                self._checkpoint = found.value
                return found.offset + 1, avro.decode_checkpoint(found.value)
            window *= 8
        if self._checkpoint:
            message = (
                f"the store of partition {self._claim.partition} knows of a commit that is not in history"
            )
            raise CacheCorruptFault(message)
        if (
            self._claim.history_start
            or self._claim.inbox_start
            or any(True for _ in self._records(start, end))
        ):
            message = (
                f"partition {self._claim.partition} has history or inbox records but no checkpoint: "
                "the topics were truncated, re-created, or written by someone else"
            )
            raise LogDamagedFault(message)
        return start, None

    def _records(self, start: int, end: int) -> Iterator[Record]:
        for batch in self._log.read_history(self._claim, start, end):
            yield from batch

    # --- taking in ---

    def _take(self, record: Record) -> None:
        self._read += 1
        if record.key == CHECKPOINT_KEY:
            return
        if record.key.startswith(OUT_PREFIX):
            self._set(keys.outbox_key(record.key), record.value)
            return
        instance_id, run_id, sequence = keys.parse_event_record(record.key)
        run = (instance_id, run_id)
        if run in self._going:
            return
        if record.value is None:
            self._take_tombstone(run, sequence)
            return
        self._runs.setdefault(run, {})[sequence] = record.value
        if record.value[:HEADER_BYTES] in avro.terminal_fingerprints and not self._keeps_all:
            self._finish(run)

    def _take_tombstone(self, run: RunKey, sequence: int) -> None:
        if sequence == 1:
            # A purge: the whole run goes, whatever slices of its tombstones are still to come.
            self._drop(run)
            return
        if self._stub_of(run) is not None:
            raise _NeedsAllEvents
        self._runs.get(run, {}).pop(sequence, None)
        if self._may_be_in_store(run):
            self._set(keys.event_key(*run, sequence), None)

    def _drop(self, run: RunKey) -> None:
        self._runs.pop(run, None)
        stub = self._stub_of(run)
        if stub is not None:
            self._set(keys.stub_key(run[0]), None)
            self._set(keys.ended_key(stub), None)
        if self._may_be_in_store(run):
            for key, _ in self._store.scan(keys.run_prefix(*run)):
                self._set(key, None)

    def _finish(self, run: RunKey) -> None:
        events = self._runs.pop(run)
        stored: dict[int, bytes] = {}
        if self._may_be_in_store(run):
            for key, value in self._store.scan(keys.run_prefix(*run)):
                stored[int.from_bytes(key[-4:], "big")] = value
                self._set(key, None)
        self._leave_stub(_fold_run(run, sorted((stored | events).items())))

    def _leave_stub(self, state: InstanceState) -> None:
        last, stub = self._stub(state.instance_id), stub_of(state)
        if last is not None:
            # The run that had this id before: its tombstones come behind the events of the one in its place.
            self._set(keys.ended_key(last), None)
        for key, value in keys.stub_records(stub):
            self._set(key, value)

    def _stub_of(self, run: RunKey) -> RunStub | None:
        stub = self._stub(run[0])
        return stub if stub is not None and stub.run_id == run[1] else None

    def _stub(self, instance_id: str) -> RunStub | None:
        key = keys.stub_key(instance_id)
        value = None if key in self._deletes else self._puts.get(key)
        if value is None and key not in self._deletes and not (self._is_rebuild and not self._in_store):
            value = self._store.get_many([key])[0]
        return None if value is None else keys.stub_in(value)

    def _may_be_in_store(self, run: RunKey) -> bool:
        return not self._is_rebuild or run in self._in_store

    def _set(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._puts.pop(key, None)
            self._deletes.add(key)
        else:
            self._deletes.discard(key)
            self._puts[key] = value

    def _pending(self) -> int:
        return len(self._puts) + len(self._deletes) + sum(map(len, self._runs.values()))

    def _flush(self, position: int) -> None:
        for run, events in self._runs.items():
            self._in_store.add(run)
            for sequence, value in events.items():
                self._set(keys.event_key(*run, sequence), value)
        self._runs = {}
        # Any position will do: the last value of a key wins, wherever a later restore goes on from.
        self._store.write(list(self._puts.items()), list(self._deletes), self._store_position(position))
        if self._puts:
            self._in_store.add(("", ""))
        self._puts, self._deletes = {}, set()

    def _store_position(self, position: int) -> StorePosition:
        return StorePosition(
            history_topic_id=self._log.identity.history_topic_id,
            history_position=position,
            written_at_ms=self._now_ms,
            checkpoint=self._checkpoint,
        )

    # --- folding and verifying ---

    def _fold(self) -> tuple[dict[str, InstanceState], KeyCount]:
        count = KeyCount()
        states: dict[str, InstanceState] = {}
        finished: list[InstanceState] = []
        for run, events in _by_run(self._store.scan(keys.EVENTS)):
            state = _fold_run(run, events)
            if state.is_finished:
                finished.append(state)
                continue
            states[state.instance_id] = state
            count.add(state.key_sum, state.sequence)
        if finished:
            self._stub_late(finished)
        stubs = 0
        for _, value in self._store.scan(keys.STUBS):
            stub = keys.stub_in(value)
            count.add(stub.key_sum, stub.last_sequence)
            stubs += 1
        ended = sum(1 for _ in self._store.scan(keys.ENDED))
        if ended != stubs:
            message = (
                f"the store of partition {self._claim.partition} has {stubs} stubs, but {ended} by their end"
            )
            raise CacheCorruptFault(message)
        return states, count

    def _stub_late(self, finished: list[InstanceState]) -> None:
        for state in finished:
            for sequence in range(1, state.sequence + 1):
                self._set(keys.event_key(state.instance_id, state.run_id, sequence), None)
            self._leave_stub(state)
        position = self._store.position()
        assert position is not None
        self._store.write(list(self._puts.items()), list(self._deletes), position)
        self._puts, self._deletes = {}, set()

    def _verify(self, checkpoint: Checkpoint, count: KeyCount) -> None:
        found = (count.count, count.total.to_bytes(8, "big"))
        expected = (checkpoint.key_count, checkpoint.key_sum)
        if found == expected:
            return
        message = (
            f"expected {expected[0]} records with sum {expected[1].hex()} in the history of partition "
            f"{self._claim.partition}, but found {found[0]} with sum {found[1].hex()}"
        )
        if not self._is_rebuild or not self._keeps_all:
            raise CacheCorruptFault(message)
        raise LogDamagedFault(f"{message}: records were lost or changed")


STORE_AGE_MS_MAX = 3 * 24 * 3600 * 1000 + 12 * 3600 * 1000


def _by_run(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[RunKey, list[tuple[int, bytes]]]]:
    current: bytes | None = None
    events: list[tuple[int, bytes]] = []
    for key, value in pairs:
        prefix = key[:-4]
        if prefix != current:
            if current is not None:
                yield _run_of(current), events
            current, events = prefix, []
        events.append((int.from_bytes(key[-4:], "big"), value))
    if current is not None:
        yield _run_of(current), events


def _run_of(prefix: bytes) -> RunKey:
    instance_id, run_id, _ = prefix[1:].decode().split("\0")
    return instance_id, run_id


def _fold_run(run: RunKey, events: Iterable[tuple[int, bytes]]) -> InstanceState:
    state: InstanceState | None = None
    prefix = f"{run[0]}|{run[1]}|"
    for sequence, value in events:
        _, recorded = avro.decode_event(value)
        if sequence != (1 if state is None else state.sequence + 1):
            message = f"events of {run[0]!r}, run {run[1]}, are not dense at {sequence}"
            raise _EventsMissing(message)
        state = apply(state, run[0], recorded)
        account(state, len(value), key_digest(f"{prefix}{sequence}".encode(), value))
    assert state is not None
    return state
