"""The memory broker as the log suite wants it: without faults, its time passing while somebody polls."""

from engine.partition.ports import Log, Record
from engine.testing.faults import Faults
from engine.testing.memory_broker import MemoryBroker
from engine.testing.memory_log import MemoryLog


class MemoryHarness:
    """One broker; every member that opens it is assigned all partitions, the newest truly."""

    def __init__(self) -> None:
        self._broker = MemoryBroker(partitions=2)
        self._faults = Faults("none", {})

    def open_log(self, member: str) -> Log:
        """As a starting process would."""
        log = MemoryLog(self._broker, member, self._faults)
        log.is_polling_time = True
        log.ours = frozenset(range(self._broker.identity.partitions))
        self._broker.owner_of = dict.fromkeys(log.ours, member)
        return log

    def close_log(self, log: Log) -> None:
        """As a process that ends orderly would."""

    def rival_of(self, log: Log) -> Log:
        """Another member."""
        return self.open_log("rival")

    def read_back_history(self, partition: int) -> list[Record]:
        """What an independent reader of committed records sees, all of it."""
        return list(self._broker.history[partition].records)

    def read_deadletters(self) -> list[Record]:
        """The same of the dead letters."""
        return list(self._broker.deadletters.records)

    def read_replies(self) -> list[Record]:
        """The same of the replies."""
        return list(self._broker.replies.records)

    def close(self) -> None:
        """Nothing is open."""
