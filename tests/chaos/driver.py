"""One run: a cluster, workers, programs in flight, faults; then calm, and everything is checked.

All of it is driven by one thread, which reads the topics, publishes, and takes the faults on.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException

from tests.chaos.audit import ChaosAuditor
from tests.chaos.checkers import Evidence, check_all
from tests.chaos.cluster import ChaosCluster
from tests.chaos.faults import FAULTS, Target
from tests.chaos.load import Load
from tests.chaos.report import Report
from tests.chaos.schedule import PATIENCE_SECONDS, Patience, Schedule
from tests.chaos.workers import Worker
from tests.integration.harness import COMMAND_LINE, REPOSITORY

NAMESPACE = "wf"
APP = "chaos"
PARTITIONS = 6
READ_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """What a run is made of. With `once` each kind comes once, in order; else they come for `seconds`."""

    seed: int
    seconds: float = 0.0
    kinds: Sequence[str] = tuple(FAULTS)
    once: bool = False
    in_flight: int = 64
    together_max: int = 2
    pause: float = 6.0
    outage_seconds: float = 30.0


class Chaos:
    """A run and all that belongs to it. Everything it leaves is below `directory`."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan = plan
        self.directory = directory
        self.report = Report(plan.seed)
        directory.mkdir(parents=True, exist_ok=True)
        self.cluster = ChaosCluster(directory / "kafka")
        self.workers: list[Worker] = []
        self.deaths: list[str] = []
        self._guests: list[Worker] = []
        self._began = time.monotonic()
        self._lag_at = 0.0
        self._last_lag = -1

    def run(self) -> Report:
        """Raises only what makes it impossible to go on; what is wrong is in the report."""
        problems: dict[str, list[str]] = {}
        try:
            self._open()
            self._trouble()
            self._calm()
            problems = check_all(self._evidence())
        except AssertionError as error:
            problems = {"stuck": [str(error)]} | check_all(self._evidence())
        finally:
            self._close(problems)
        return self.report

    # --- phases ---

    def _open(self) -> None:
        self.cluster.start()
        self._make_topics()
        self._until_whole()
        self.audit = ChaosAuditor(self.cluster.bootstrap_servers, APP)
        self.load = Load(
            self.cluster.bootstrap_servers,
            f"{NAMESPACE}.{APP}.commands",
            f"{self.plan.seed}-programs",
            self.plan.in_flight,
        )
        self.workers = [self._new_worker("a", 2), self._new_worker("b"), self._new_worker("c")]
        rng = random.Random(f"{self.plan.seed}-faults")
        self.target = Target(
            cluster=self.cluster,
            workers=self.workers,
            directory=self.directory,
            commands=f"{NAMESPACE}.{APP}.commands",
            rng=rng,
            new_worker=self._new_guest,
            outage_seconds=self.plan.outage_seconds,
        )
        self.schedule = Schedule(self.target, self.plan.kinds, rng, self.plan.together_max, self.plan.pause)
        for worker in self.workers:
            worker.start()
        self._until(lambda: all(worker.is_ready() for worker in self.workers), "workers that are ready")

    def _trouble(self) -> None:
        if self.plan.once:
            for kind in self.plan.kinds:
                self._await_progress(kind)
                self.schedule.begin(kind)
                self._until(
                    lambda: self.schedule.is_quiet, f"{kind} to be over", seconds=2 * PATIENCE_SECONDS
                )
            return
        until = time.monotonic() + self.plan.seconds
        while time.monotonic() < until:
            self.schedule.deal()
            self._step()
        self._until(lambda: self.schedule.is_quiet, "all faults to be mended", seconds=2 * PATIENCE_SECONDS)

    def _await_progress(self, kind: str) -> None:
        """Each fault befalls a system at work: some programs end between two of them."""
        ended = len(self.audit.outcomes)
        self._until(lambda: len(self.audit.outcomes) >= ended + 5, f"programs to end before {kind}")

    def _calm(self) -> None:
        self.load.is_open = False
        self._until(lambda: self.load.is_published, "all commands to be published")
        self._await(self._is_over, lambda: len(self.audit.outcomes), "all programs to end")
        self._await(lambda: not self._lag(), self._lag, "all records to be processed")
        for worker in self.workers:
            worker.ask_to_stop()
        self._until(lambda: all(w.has_ended() for w in self.workers), "workers to stop")
        self.audit.read_all()

    def _is_over(self) -> bool:
        return self.audit.outcomes.keys() >= self.load.programs.keys() and not self.audit.open_runs()

    def _lag(self) -> int:
        """Of all groups together, asked for once a second."""
        now = time.monotonic()
        if now - self._lag_at > 1:
            self._lag_at, self._last_lag = now, sum(_asked(self._lags).values())
        return self._last_lag

    # --- steps ---

    def _step(self) -> None:
        self.audit.read_what_is_there(READ_SECONDS)
        self.load.step(self.audit.outcomes)
        self.schedule.step()
        self._mind_deaths()

    def _until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        patience = Patience(seconds)
        while not condition():
            assert not patience.is_over(), f"expected {what} within {seconds:.0f} s: {self._state()}"
            self._step()

    def _await(self, condition: Callable[[], bool], progress: Callable[[], int], what: str) -> None:
        """Waits for as long as there is progress."""
        patience, seen = Patience(), progress()
        while not condition():
            if (at := progress()) != seen:
                patience, seen = Patience(), at
            assert not patience.is_over(), f"expected {what}, but nothing moves: {self._state()}"
            self._step()

    def _mind_deaths(self) -> None:
        """A worker that ends unasked is started again, as whoever runs workers would do."""
        for worker in self.workers:
            if worker.name not in self.target.busy and worker.has_ended() and self.load.is_open:
                self.deaths.append(f"worker {worker.name} ended with exit code {worker.exit_code}")
                worker.close()
                worker.start()

    def _state(self) -> str:
        missing = sorted(self.load.programs.keys() - self.audit.outcomes.keys())
        return f"{self.audit.summary()}; of {len(self.load.programs)} programs {missing[:5]} did not end"

    def _until_whole(self) -> None:
        patience = Patience()
        while not self.cluster.is_whole():
            assert not patience.is_over(), "expected all replicas in sync at the beginning"

    # --- parts ---

    def _make_topics(self) -> None:
        command = [*COMMAND_LINE, "topics", "apply", f"--app={APP}", f"--partitions={PARTITIONS}"]
        command.append(f"--bootstrap-servers={self.cluster.bootstrap_servers}")
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        subprocess.run(command, check=True, env=environment, cwd=REPOSITORY, stdout=subprocess.DEVNULL)

    def _new_worker(self, name: str, processes: int = 1) -> Worker:
        options = [
            f"--app={APP}",
            f"--bootstrap-servers={self.cluster.proxied_servers}",
            f"--partitions={PARTITIONS}",
        ]
        return Worker(name, self.directory, options, processes)

    def _new_guest(self, name: str) -> Worker:
        guest = self._new_worker(name)
        self._guests.append(guest)
        return guest

    def _lags(self) -> dict[str, int]:
        """Of each group, how many records it has not put behind it."""
        lags = {}
        for group, topic in (("ingress", "commands"), ("owners", "inbox")):
            name = f"{NAMESPACE}.{APP}.{topic}"
            ends = self.cluster.ends(name, committed=True)
            asked = ConsumerGroupTopicPartitions(f"{NAMESPACE}.{APP}.{group}")
            found = self.cluster.admin.list_consumer_group_offsets([asked])[asked.group_id].result()
            done = {place.partition: max(place.offset, 0) for place in found.topic_partitions}
            lags[topic] = sum(end - done.get(number, 0) for number, end in ends.items())
        return lags

    def _open_transactions(self) -> dict[str, int]:
        found = {}
        for topic in ("commands", "history", "deadletter"):
            name = f"{NAMESPACE}.{APP}.{topic}"
            ends = self.cluster.ends(name, committed=False)
            stable = self.cluster.ends(name, committed=True)
            found[topic] = sum(stable[number] < end for number, end in ends.items())
        return found

    # --- the end ---

    def _evidence(self) -> Evidence:
        audit = self.audit
        return Evidence(
            programs=self.load.programs,
            outcomes=audit.outcomes,
            starts=audit.starts(),
            raised=audit.count("EventRaised"),
            refused=audit.refused(),
            open_runs=audit.open_runs(),
            lags=_asked(self._lags),
            open_transactions=_asked(self._open_transactions),
            logs=[worker.log for worker in (*self.workers, *self._guests)],
        )

    def _close(self, problems: dict[str, list[str]]) -> None:
        report, audit = self.report, self.audit
        try:
            audit.check(started=self.load.programs)
            audit.check_nothing_is_on_its_way()
        except AssertionError as error:
            problems["invariants"] = [str(error)]
        problems["deaths"] = self.deaths
        report.problems = problems
        report.seconds = time.monotonic() - self._began
        report.programs = len(self.load.programs)
        report.runs = len(audit.all_runs())
        report.history_events = sum(map(len, audit.all_runs().values()))
        report.commits = audit.commits()
        report.torn_records = audit.torn
        report.refused = len(audit.dead_letters)
        report.deaths = len(self.deaths)
        report.faults = dict(self.target.counts)
        report.add_takeovers(self.target.kills, [*self.workers, *self._guests])
        report.write(self.directory / "report.json")
        if not report.is_clean:
            self._dump()
        for worker in (*self.workers, *self._guests):
            worker.close()
        audit.close()
        self.cluster.close()

    def _dump(self) -> None:
        """What was read of the topics, for whoever looks into it."""
        with (self.directory / "history.jsonl").open("w", encoding="utf-8") as file:
            for run, events in self.audit.all_runs().items():
                told = [(event.kind, event.body) for event in events]
                file.write(json.dumps([run, told], default=repr) + "\n")
        with (self.directory / "inbox.jsonl").open("w", encoding="utf-8") as file:
            for seen in self.audit.inbox:
                file.write(json.dumps(vars(seen), default=repr) + "\n")


def _asked(question: Callable[[], dict[str, int]]) -> dict[str, int]:
    """The answer; where there is none, that is what is wrong."""
    try:
        return question()
    except KafkaException as problem:
        return {f"Kafka does not answer: {problem}": 1}
