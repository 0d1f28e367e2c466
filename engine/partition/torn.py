"""What a torn transaction has touched, and what must be written over it. Never takes any of it in.

A commit request that is delivered a lap late commits the first records of the next transaction without its
checkpoint. Readers drop a run at the tombstone of its first event, so a run that a torn tombstone has touched
is written again as a whole: putting back the touched keys alone would leave its end without its beginning.
"""

import msgspec

from engine.codec.topics import CHECKPOINT_KEY, history_key
from engine.partition import keys
from engine.partition.changes import RunKey
from engine.partition.ports import Claim, Log, Record, Store

OUT_PREFIX = b"~out|"

Events = dict[bytes, bytes]


class Torn(msgspec.Struct, frozen=True):
    """A key that must be written again, and what it should hold."""

    key: bytes
    value: bytes | None


def mend(log: Log, claim: Claim, store: Store, end: int) -> list[Torn]:
    """What to write over the committed records behind `end`, of which `store` knows nothing."""
    touched: dict[RunKey, list[Record]] = {}
    mended: list[Torn] = []
    for batch in log.read_history(claim, end, claim.history_end):
        for record in batch:
            if record.key.startswith(OUT_PREFIX):
                value = store.get_many([keys.outbox_key(record.key)])[0]
                mended.append(Torn(key=record.key, value=value))
            elif record.key != CHECKPOINT_KEY:
                instance_id, run_id, _ = keys.parse_event_record(record.key)
                touched.setdefault((instance_id, run_id), []).append(record)
    if not touched:
        return mended
    events = {run: _live_events(store, run) for run in touched}
    events |= _finished_events(log, claim, end, {r for r in touched if _is_finished(store, r)})
    for run, records in touched.items():
        mended += _mended_run(records, events[run])
    return mended


def _mended_run(records: list[Record], events: Events) -> list[Torn]:
    is_dropped = any(record.value is None for record in records)
    whole = dict(events) if is_dropped else {}
    should: dict[bytes, bytes | None] = {record.key: events.get(record.key) for record in records}
    # In the order of events, for a reader folds a run when it meets its end.
    return [Torn(key=key, value=value) for key, value in (whole | should).items()]


def _live_events(store: Store, run: RunKey) -> Events:
    found = store.scan(keys.run_prefix(*run))
    return {history_key(*run, int.from_bytes(key[-4:], "big")): value for key, value in found}


def _is_finished(store: Store, run: RunKey) -> bool:
    value = store.get_many([keys.stub_key(run[0])])[0]
    return value is not None and keys.stub_in(value).run_id == run[1]


def _finished_events(log: Log, claim: Claim, end: int, runs: set[RunKey]) -> dict[RunKey, Events]:
    """The events of finished runs: the store keeps but a stub of them, so history is read again."""
    if not runs:
        return {}
    found: dict[RunKey, dict[int, tuple[bytes, bytes]]] = {run: {} for run in runs}
    for batch in log.read_history(claim, claim.history_start, end):
        for record in batch:
            if record.key == CHECKPOINT_KEY or record.key.startswith(OUT_PREFIX):
                continue
            instance_id, run_id, sequence = keys.parse_event_record(record.key)
            events = found.get((instance_id, run_id))
            if events is None:
                continue
            if record.value is None:
                events.pop(sequence, None)
            else:
                events[sequence] = (record.key, record.value)
    return {run: dict(events[sequence] for sequence in sorted(events)) for run, events in found.items()}
