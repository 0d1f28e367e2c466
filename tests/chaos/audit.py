"""The independent reader under chaos: brokers come and go, so errors of the connection are no news to it."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from confluent_kafka import KafkaError
from typing_extensions import override

from tests.integration.auditor import MAGIC, Auditor, Run, Seen, decode
from tests.integration.invariants import TERMINAL, Recorded


class ChaosAuditor(Auditor):
    """Reads past the proxies. What it counts is over all runs that ever were, those that gave way too."""

    CLIENT: ClassVar[dict[str, Any]] = {"log_level": 0}

    @override
    def _is_good(self, error: KafkaError | None) -> bool:
        assert error is None or not error.fatal(), error
        return error is None

    def all_runs(self) -> dict[Run, list[Recorded]]:
        return self.past | self.runs

    def open_runs(self) -> list[Run]:
        """Those that have not ended."""
        return [run for run, events in self.runs.items() if events[-1].kind not in TERMINAL]

    def count(self, kind: str) -> Counter[str]:
        """How many events of a kind each instance has had, without those that a run hands to the next."""
        counts: Counter[str] = Counter()
        for (instance_id, _), events in self.all_runs().items():
            counts[instance_id] += sum(event.kind == kind for event in events)
            if kind == "EventRaised":
                counts[instance_id] -= events[0].body["saved_events"]
        return counts

    def starts(self) -> Counter[str]:
        """How often each instance was started, not continued."""
        counts: Counter[str] = Counter()
        for (instance_id, _), events in self.all_runs().items():
            counts[instance_id] += not events[0].body["previous_run_id"]
        return counts

    def refused(self) -> list[tuple[str, str, str, tuple[bytes, bytes]]]:
        """(instance, command, reason, where the command was) of each dead letter."""
        return [_refusal(letter) for letter in self.dead_letters]


def _refusal(letter: Seen) -> tuple[str, str, str, tuple[bytes, bytes]]:
    value, headers = letter.value or b"", letter.headers
    # A command that was understood is kept as the inbox had it; anything else as it came.
    kind, body = decode(value) if value.startswith(MAGIC) else ("unreadable", {})
    instance_id = body.get("instance_id", letter.key.decode("utf-8", "replace"))
    place = (headers["source.partition"], headers["source.offset"])
    return instance_id, kind, headers["reason"].decode(), place
