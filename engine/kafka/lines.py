"""librdkafka's own lines, as ours: in the log of this process, and no more of them than say something.

Rules
* A broker that is away is told of once in a while. Every client says so at every try, about once a second.
* A producer that a later claim fences is how claims work, and no critical error.
"""

import logging
import re
import time

from typing_extensions import override

LINES = logging.getLogger("engine.librdkafka")
REPEAT_SECONDS = 30.0
KINDS_MAX = 100

# What differs from one try to the next: the client, the thread, the address, the time it took.
_VARYING = re.compile(r"\[.*?\]|\(after.*\)|[^\s]*:\d+(/\w+)?|\d+")
_FENCED = re.compile(r"fence[ds]|INVALID_PRODUCER_EPOCH|old epoch", re.IGNORECASE)
_EXPECTED = frozenset({"FATAL", "TXNERR"})
_REPEATED = frozenset({"FAIL", "ERROR"})


class _Sieve(logging.Filter):
    """Judges each line. Any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._told_at: dict[str, float] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is wanted; may lower its level."""
        # As the client has it: (facility, client, text).
        facility = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        text = record.getMessage()
        if facility in _EXPECTED and _FENCED.search(text):
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
            return LINES.isEnabledFor(logging.INFO)
        return facility not in _REPEATED or self._is_news(_VARYING.sub("", text))

    def _is_news(self, kind: str) -> bool:
        now = time.monotonic()
        if now - self._told_at.get(kind, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        if len(self._told_at) >= KINDS_MAX:
            self._told_at.clear()
        self._told_at[kind] = now
        return True


LINES.addFilter(_Sieve())
# A program that set up no logging is not to have them on its stderr: what matters comes as an error.
LINES.addHandler(logging.NullHandler())
