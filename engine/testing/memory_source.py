"""`commands` of the memory broker as one ingress reads it. Never gives it what is another's."""

from engine.partition.ports import Record
from engine.testing.faults import INGRESS, Faults
from engine.testing.memory_broker import MemoryBroker


class MemoryCommandSource:
    """`commands` as one ingress reads it."""

    def __init__(self, broker: MemoryBroker, member: str, faults: Faults) -> None:
        self.topic_id = broker.identity.commands_topic_id
        self.ours: frozenset[int] = frozenset()
        self._broker = broker
        self._member = member
        self._faults = faults
        self._sessions: dict[int, int] = {}
        self._positions: dict[int, int] = {}

    @property
    def is_beginning(self) -> bool:
        """Never: it is known at once."""
        return False

    def assignment(self) -> dict[int, int]:
        """See the port."""
        return dict(self._sessions)

    def poll(self, timeout_ms: int) -> list[Record]:
        """See the port."""
        self._faults.point("poll commands", INGRESS)
        self._mind_assignment()
        found: list[Record] = []
        for partition, position in self._positions.items():
            topic = self._broker.commands[partition]
            records = topic.read(
                position, self._broker.commands_end(partition), 1 + self._faults.rng.randrange(8)
            )
            if records:
                self._positions[partition] = records[-1].offset + 1
                found.extend(records)
        return found

    def commit(self, positions: dict[int, int]) -> None:
        """See the port. A member that lost a partition can't commit it; the group would refuse."""
        self._faults.point("commit ingress offsets", INGRESS)
        for partition, position in positions.items():
            if self._broker.ingress_of.get(partition) == self._member:
                self._broker.group_offsets[partition] = (position, self.topic_id)
                self._broker.commands[partition].drop_before(position)

    def restart(self) -> None:
        """See the port."""
        for partition in list(self._sessions):
            self._begin(partition)

    def has_news(self) -> bool:
        """Whether `poll` would return something, or the assignment changes."""
        if self._sessions.keys() != self.ours:
            return True
        return any(self._broker.commands_end(p) > offset for p, offset in self._positions.items())

    def _mind_assignment(self) -> None:
        for partition in [each for each in self._sessions if each not in self.ours]:
            del self._sessions[partition], self._positions[partition]
        for partition in self.ours:
            if partition not in self._sessions:
                self._begin(partition)

    def _begin(self, partition: int) -> None:
        offset, topic_id = self._broker.group_offsets.get(partition, (-1, ""))
        start = self._broker.commands[partition].start
        self._broker.sessions += 1
        self._sessions[partition] = self._broker.sessions
        self._positions[partition] = offset if topic_id == self.topic_id and offset >= 0 else start
