"""What commits change in the cache, gathered until it is written. Of most, nothing is left to write then.

A run that begins and ends before that leaves a stub, and its events are never written at all.
"""

from collections.abc import Collection

from engine.model.state import RunStub
from engine.partition import keys

RunKey = tuple[str, str]


class Changes:
    """From a cache as it is to what it should be. Later changes undo earlier ones."""

    def __init__(self) -> None:
        self._events: dict[RunKey, list[tuple[int, bytes]]] = {}
        self._stubs: dict[str, RunStub] = {}
        # What was known of each run that goes; and whose stubs do.
        self._gone_runs: dict[RunKey, RunStub] = {}
        self._gone_stubs: set[str] = set()
        self._messages: dict[bytes, bytes | None] = {}

    def events_of(self, run: RunKey) -> list[tuple[int, bytes]]:
        """The new events of a run by number, to be added to."""
        events = self._events.get(run)
        if events is None:
            events = self._events[run] = []
        return events

    def finish_run(self, stub: RunStub) -> None:
        """The run is over: its events leave the cache, a stub stays."""
        self._stubs[stub.instance_id] = stub

    def forget_run(self, gone: RunStub) -> None:
        """All of it leaves at once: a part would look like damage to the next claim."""
        run = (gone.instance_id, gone.run_id)
        self._events.pop(run, None)
        self._gone_runs[run] = gone
        # The next run of the instance may be over already, and then the stub is of that.
        stub = self._stubs.get(gone.instance_id)
        if stub is None or stub.run_id == gone.run_id:
            self._stubs.pop(gone.instance_id, None)
            self._gone_stubs.add(gone.instance_id)

    def set_message(self, record_key: bytes, value: bytes | None) -> None:
        """A message to another instance is on record; or gone, with None."""
        self._messages[keys.outbox_key(record_key)] = value

    @property
    def stubs(self) -> Collection[RunStub]:
        """The runs that are over, and not gone."""
        return self._stubs.values()

    def stub(self, instance_id: str) -> tuple[bool, RunStub | None]:
        """Whether this says what stub the instance has, and which: None where it has none."""
        found = self._stubs.get(instance_id)
        return found is not None or instance_id in self._gone_stubs, found

    def add(self, later: "Changes") -> None:
        """Takes over `later`, which is of no more use."""
        for gone in later._gone_runs.values():
            self.forget_run(gone)
        for run, events in later._events.items():
            known = self._events.get(run)
            if known is None:
                self._events[run] = events
            else:
                known.extend(events)
        self._stubs.update(later._stubs)
        self._messages.update(later._messages)

    def writes(self) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
        """(puts, deletes). No key is in both."""
        puts = [(key, value) for key, value in self._messages.items() if value is not None]
        deletes = [key for key, value in self._messages.items() if value is None]
        for run, gone in self._gone_runs.items():
            deletes.extend(keys.event_key(*run, each) for each in range(1, gone.last_sequence + 1))
            deletes.append(keys.ended_key(gone))
        deletes.extend(keys.stub_key(each) for each in self._gone_stubs if each not in self._stubs)
        for run, events in self._events.items():
            stub = self._stubs.get(run[0])
            if stub is None or stub.run_id != run[1]:
                prefix = keys.run_prefix(*run)
                puts.extend((prefix + sequence.to_bytes(4, "big"), value) for sequence, value in events)
            elif events:
                # Those before these were written.
                deletes.extend(keys.event_key(*run, sequence) for sequence in range(1, events[0][0]))
        for stub in self._stubs.values():
            puts.extend(keys.stub_records(stub))
        return puts, deletes
