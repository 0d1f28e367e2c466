"""What a run was: programs, faults by kind, losses, duplicates, seconds of takeovers. Printed and as JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.checkers import SHOWN_MAX
from tests.chaos.faults import Kill
from tests.chaos.workers import Worker, taken_over_at


@dataclass
class Report:
    seed: int
    seconds: float = 0.0
    programs: int = 0
    runs: int = 0
    history_events: int = 0
    commits: int = 0
    torn_records: int = 0
    refused: int = 0
    deaths: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    takeovers: int = 0
    takeover_seconds_p50: float | None = None
    takeover_seconds_p95: float | None = None
    problems: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        return not any(self.problems.values())

    def add_takeovers(self, kills: list[Kill], workers: list[Worker]) -> None:
        """From each kill to the moment when each of the killed one's partitions has an owner again."""
        records = [record for worker in workers for record in worker.records()]
        owned_at = sorted(found for record in records if (found := taken_over_at(record)) is not None)
        seconds = []
        for kill in kills:
            for partition in kill.worker.owned_by(kill.pid, kill.moment):
                after = [at for number, at in owned_at if number == partition and at > kill.moment]
                seconds += [min(after) - kill.moment] if after else []
        self.takeovers = len(seconds)
        if len(seconds) > 1:
            cuts = statistics.quantiles(seconds, n=20, method="inclusive")
            self.takeover_seconds_p50, self.takeover_seconds_p95 = round(cuts[9], 2), round(cuts[18], 2)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def text(self) -> str:
        """As a person reads it."""
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        begun = sum(self.faults.values()) - self.faults.get("held", 0)
        made = f"{self.runs:,} runs, {self.history_events:,} events, {self.commits:,} commits"
        took = f"p50 {self.takeover_seconds_p50} s, p95 {self.takeover_seconds_p95} s"
        lines = [
            f"chaos, seed {self.seed}, {self.seconds:.0f} s",
            f"  programs  {self.programs:,} ({made}, {self.refused} late commands refused)",
            f"  faults    {begun}: {faults}",
            f"  takeover  {took} ({self.takeovers} partitions of killed processes)",
            f"  losses    {len(self.problems.get('losses', []))}",
            f"  doubles   {len(self.problems.get('duplicates', []))}",
        ]
        for name, found in self.problems.items():
            lines += [f"  {name}: {len(found)}"] if found else []
            lines += [f"    {each}" for each in found[:SHOWN_MAX]]
        return "\n".join(lines)
