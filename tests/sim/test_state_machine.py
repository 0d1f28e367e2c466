"""What a client may do and see, in any order, while processes die: held against a model of a few lines."""

from collections import defaultdict

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.client.fold import Commits, Fold, instance_key_of
from engine.model import commands as cm
from engine.model.failure import Payload
from engine.testing import programs
from engine.testing.clients import publish
from engine.testing.world import Plan, World

STEPS_MAX = 3_000
IDS = st.sampled_from(["a", "b", "c"])


class Waiting(msgspec.Struct):
    """A run that waits for so many events more."""

    left: int
    is_suspended: bool = False

    @property
    def status(self) -> str:
        if self.is_suspended:
            return "SUSPENDED"
        return "RUNNING" if self.left > 0 else "COMPLETED"


class Clients(RuleBasedStateMachine):
    """Commands are published without waiting; what is shown is compared when everything has settled."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Plan(seed=1, clients=0, is_quiet=True))
        self.runs: dict[str, Waiting | str] = {}
        self.refused = 0

    def live(self, instance_id: str) -> Waiting | None:
        run = self.runs.get(instance_id)
        return run if isinstance(run, Waiting) and run.status != "COMPLETED" else None

    def ask(self, command: cm.PublicCommand, *, is_refused: bool) -> None:
        publish(self.world.broker, command)
        self.refused += is_refused

    # --- what clients do ---

    @rule(instance_id=IDS, count=st.integers(1, 3))
    def start(self, instance_id: str, count: int) -> None:
        program = {"ops": [{"op": "queue", "name": "e", "count": count}]}
        payload = Payload(msgspec.json.encode(program))
        start = cm.StartInstance(instance_id=instance_id, workflow=programs.WORKFLOW, input=payload)
        self.ask(start, is_refused=self.live(instance_id) is not None)
        if self.live(instance_id) is None:
            self.runs[instance_id] = Waiting(count)

    @rule(instance_id=IDS)
    def raise_event(self, instance_id: str) -> None:
        run = self.live(instance_id)
        event = cm.RaiseEvent(instance_id=instance_id, name="e", data=Payload(b"1"))
        self.ask(event, is_refused=run is None)
        if run is not None:
            run.left -= 1

    @rule(instance_id=IDS, is_resumption=st.booleans())
    def suspend_or_resume(self, instance_id: str, is_resumption: bool) -> None:
        kind = cm.ResumeInstance if is_resumption else cm.SuspendInstance
        run = self.live(instance_id)
        self.ask(kind(instance_id=instance_id), is_refused=run is None)
        if run is not None:
            run.is_suspended = not is_resumption

    @rule(instance_id=IDS)
    def terminate(self, instance_id: str) -> None:
        is_live = self.live(instance_id) is not None
        self.ask(cm.TerminateInstance(instance_id=instance_id), is_refused=not is_live)
        if is_live:
            self.runs[instance_id] = "TERMINATED"

    @rule(instance_id=IDS, force=st.booleans())
    def purge(self, instance_id: str, force: bool) -> None:
        is_refused = instance_id not in self.runs or (self.live(instance_id) is not None and not force)
        self.ask(cm.PurgeInstance(instance_id=instance_id, force=force), is_refused=is_refused)
        if not is_refused:
            del self.runs[instance_id]

    # --- what befalls them ---

    @rule(partition=st.integers(0, 2), is_clean=st.booleans())
    def lose_the_owner(self, partition: int, is_clean: bool) -> None:
        process = self.world.process_of(partition)
        if process is not None and not process.is_leaving:
            (self.world.restart if is_clean else self.world.crash)(process)

    @rule(steps=st.integers(1, 40))
    def let_time_pass(self, steps: int) -> None:
        for _ in range(steps):
            self.world.step()

    # --- what they see ---

    @rule()
    def compare(self) -> None:
        for _ in range(STEPS_MAX):
            self.world.view.catch_up()
            if all(self.world.is_drained(p) for p in range(self.world.broker.identity.partitions)):
                break
            self.world.step()
        else:
            raise AssertionError("the cluster does not settle")

        assert self.shown() == {name: getattr(run, "status", run) for name, run in self.runs.items()}
        assert len(self.world.broker.deadletters.records) == self.refused

    @invariant()
    def nothing_is_shown_that_was_not_asked_for(self) -> None:
        assert set(self.shown()) <= {"a", "b", "c"}

    def teardown(self) -> None:
        self.compare()

    def shown(self) -> dict[str, str]:
        """By a client's own reading of history."""
        folds: defaultdict[str, Fold] = defaultdict(lambda: Fold("?"))
        for journal in self.world.broker.history_journal:
            commits = Commits()
            for record in (event for each in journal for event in commits.add(each)):
                if not record.key.startswith(b"~"):
                    folds[instance_key_of(record.key).decode()].add(record)
        states = {name: fold.shown() for name, fold in folds.items()}
        return {name: str(state.runtime_status) for name, state in states.items() if state is not None}


TestClients = Clients.TestCase
TestClients.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
