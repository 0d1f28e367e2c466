"""How long a pass or a commit waits for company. Only for cost: what is right does not depend on it.

A request to Kafka costs its broker and us about as much for one record as for fifty. So while much is under
way, records and outcomes are let gather for some milliseconds; while little is, nothing waits.
"""

GATHER_MS_MAX = 5
GATHER_MS_PER_CALL = 0.05
BUSY_CALLS = 20
SPACING_MS_MAX = 6
SPACING_MS_PER_CALL = 0.1


class Pace:
    """Shared by the owners of a process, and used by their thread alone."""

    def __init__(self) -> None:
        # How many activities have no outcome on record yet: so many records are to come.
        self.under_way = 0
        # Whether some of them wait behind others: then somebody must look after them soon.
        self.has_waiting = False
        self._committed_at_ms = -SPACING_MS_MAX

    @property
    def is_busy(self) -> bool:
        """Whether passes follow each other without a rest worth speaking of."""
        return self.under_way >= BUSY_CALLS

    def gather_ms(self) -> float:
        """How long after a pass the next may wait."""
        return min(GATHER_MS_MAX, self.under_way * GATHER_MS_PER_CALL)

    def commit_wait_ms(self, now_ms: int) -> int:
        """How long from now the next commit of this process should wait for more to commit."""
        spacing_ms = min(SPACING_MS_MAX, int(self.under_way * SPACING_MS_PER_CALL))
        return max(0, self._committed_at_ms + spacing_ms - now_ms)

    def commits(self, now_ms: int) -> None:
        """A commit begins now."""
        self._committed_at_ms = now_ms
