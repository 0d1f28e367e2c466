"""A Connection whose history is written by hand: what no real log can be made to do in a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from engine.client.connection import TopicIds
from engine.codec.avro import encode_event
from engine.codec.topics import CHECKPOINT_KEY, history_key, partition_of
from engine.errors import LogDamagedFault, LogUnavailableFault
from engine.model import events as ev
from engine.partition.ports import Headers, Record

PARTITIONS = 3


def recorded(run_id: str, sequence: int, event: ev.Event, at_ms: int = 1_000) -> ev.Recorded:
    return ev.Recorded(
        run_id=run_id, sequence=sequence, recorded_at_ms=at_ms, inbox_offset=sequence, event=event
    )


class MadeLog:
    """Any thread. Partitions are Kafka's: markers take an offset at the end of every commit."""

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self.partitions = partitions
        self.history_id = "topic-1"
        self.history: list[list[Record]] = [[] for _ in range(partitions)]
        self.ends_at = [0] * partitions
        self.changed = threading.Condition()
        self.is_down = False
        self.followed: list[dict[int, int]] = []

    def commit(self, *records: tuple[str, str, int, ev.Event | None], at_ms: int = 1_000) -> None:
        """(instance id, run id, sequence, event or None for a tombstone), all of one partition."""
        self.write(partition_of(records[0][0], self.partitions), [*records], at_ms, is_whole=True)

    def tear(self, *records: tuple[str, str, int, ev.Event | None]) -> None:
        """Records that were torn out of their commit: without its checkpoint."""
        self.write(partition_of(records[0][0], self.partitions), [*records], 1_000, is_whole=False)

    def write(self, partition: int, records: Sequence[tuple], at_ms: int, *, is_whole: bool) -> None:
        rows = []
        for instance_id, run_id, sequence, event in records:
            value = event
            if event is not None and not isinstance(event, bytes):
                value = encode_event(instance_id, recorded(run_id, sequence, event, at_ms))
            rows.append((history_key(instance_id, run_id, sequence), value))
        if is_whole:
            rows.append((CHECKPOINT_KEY, b""))
        with self.changed:
            for key, value in rows:
                offset = self.ends_at[partition]
                self.history[partition].append(Record(partition, offset, at_ms, key, value))
                self.ends_at[partition] = offset + 1
            self.ends_at[partition] += 1
            self.changed.notify_all()

    def make_anew(self, topic_id: str) -> None:
        """As if somebody had deleted the topic and created it again."""
        with self.changed:
            self.history_id = topic_id
            self.history = [[] for _ in range(self.partitions)]
            self.ends_at = [0] * self.partitions
            self.changed.notify_all()

    # --- the port ---

    def topic_ids(self) -> TopicIds:
        return TopicIds(commands="commands-1", history=self.history_id)

    def publish_lone(self, key: bytes, value: bytes, headers: Headers) -> Future[None]:
        raise NotImplementedError

    def ends(self) -> dict[int, int]:
        return dict(enumerate(self.ends_at))

    def read_history(self, partition: int, start: int) -> Iterator[list[Record]]:
        yield [record for record in self.history[partition] if record.offset >= start]

    def open_tail(self) -> MadeTail:
        return MadeTail(self)

    def reply_ends(self, requester: str) -> dict[int, int]:
        return {0: 0}

    def open_reply_tail(self) -> MadeTail:
        return MadeTail(MadeLog(1))


class MadeTail:
    is_down = False

    def __init__(self, log: MadeLog) -> None:
        self.log = log
        self.places: dict[int, int] = {}

    def follow(self, positions: dict[int, int]) -> None:
        self.places |= positions
        self.log.followed.append(dict(positions))

    def poll(self, timeout_ms: int) -> list[Record]:
        with self.log.changed:
            self.log.changed.wait_for(self._has_news, timeout_ms / 1000)
            if self.log.is_down:
                message = "expected Kafka to answer, but it is down"
                raise LogUnavailableFault(message)
            found = []
            for number, place in self.places.items():
                if place > self.log.ends_at[number]:
                    message = f"offset {place} is out of range"
                    raise LogDamagedFault(message, number)
                found += [record for record in self.log.history[number] if record.offset >= place]
                self.places[number] = self.log.ends_at[number]
        return found

    def positions(self) -> dict[int, int]:
        return dict(self.places)

    def _has_news(self) -> bool:
        return self.log.is_down or any(at != self.log.ends_at[n] for n, at in self.places.items())

    def close(self) -> None:
        pass
