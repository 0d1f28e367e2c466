"""What goes wrong. Each fault is a generator: it does its deed, yields what it waits for, and mends it.

What it yields is a number of seconds, or a condition that must come true, however long that takes on this
machine. All chance comes from the seed.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Producer

from tests.chaos.cluster import ChaosCluster
from tests.chaos.proxy import Hold
from tests.chaos.workers import Worker

Condition = Callable[[], bool]
Steps = Generator[float | Condition, None, None]

HELD_MAX = 6
CLIENT_SECONDS = 60


@dataclass
class Kill:
    """A process that was killed: when, of which worker, and what it owned is in the logs."""

    moment: float
    worker: Worker
    pid: int


@dataclass
class Target:
    """All that faults may befall, and what they note about it."""

    cluster: ChaosCluster
    workers: list[Worker]
    directory: Path
    commands: str
    rng: random.Random
    new_worker: Callable[[str], Worker]
    outage_seconds: float = 30.0
    busy: set[str] = field(default_factory=set)
    kills: list[Kill] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    guests: int = 0

    def draw_worker(self) -> Worker | None:
        """One that no other fault is at, and not the last of them."""
        free = [worker for worker in self.workers if worker.name not in self.busy and worker.pid]
        return self.rng.choice(free) if len(free) > 1 else None

    def kill(self, worker: Worker, pid: int | None = None) -> None:
        """The whole worker, or one of its processes."""
        pids = worker.children() if pid is None else [pid]
        now = time.time()
        worker.kill(pid)
        self.kills += [Kill(now, worker, each) for each in pids]


# --- workers ---


def kill_worker(target: Target) -> Steps:
    """Kill -9; back after a while, before its session is over or long after."""
    worker = target.draw_worker()
    if worker is None:
        return
    target.busy.add(worker.name)
    target.kill(worker)
    yield target.rng.choice((0.0, 1.0, 3.0, 9.0))
    yield from _bring_back(target, worker)


def kill_child(target: Target) -> Steps:
    """Kill -9 of a process that has a supervisor."""
    supervisors = [w for w in target.workers if w.processes > 1 and w.name not in target.busy and w.pid]
    if not supervisors:
        return
    worker = target.rng.choice(supervisors)
    children = worker.children()
    if children:
        target.kill(worker, target.rng.choice(children))
    yield 1.0


def freeze_worker(target: Target) -> Steps:
    """SIGSTOP, and SIGCONT when others may have its partitions: a zombie."""
    worker = target.draw_worker()
    if worker is None:
        return
    target.busy.add(worker.name)
    worker.freeze()
    yield target.rng.uniform(3, 15)
    worker.thaw()
    target.busy.discard(worker.name)


def storm(target: Target) -> Steps:
    """A worker joins and leaves, over and over."""
    target.guests += 1
    guest = target.new_worker(f"guest-{target.guests}")
    for _ in range(6):
        guest.start()
        yield target.rng.choice((2.0, 2.0, 6.0))
        guest.ask_to_stop()
        yield guest.has_ended
        guest.close()


def _bring_back(target: Target, worker: Worker) -> Steps:
    worker.start()
    yield worker.is_ready
    target.busy.discard(worker.name)


# --- caches ---


def delete_cache(target: Target) -> Steps:
    """The whole state directory is gone when the worker comes back."""
    yield from _hurt_cache(target, lambda worker: shutil.rmtree(worker.state))


def damage_table(target: Target) -> Steps:
    """Bytes of a table file are not what they were."""
    yield from _hurt_cache(target, lambda worker: _damage(worker.state, target.rng), is_killed=False)


def put_back_old_cache(target: Target) -> Steps:
    """The caches are those of some time ago."""
    worker = target.draw_worker()
    if worker is None:
        return
    target.busy.add(worker.name)
    copy = target.directory / "copies" / worker.name
    target.kill(worker)
    worker.copy_state(copy)
    yield from _bring_back(target, worker)
    yield 5.0
    target.busy.add(worker.name)
    target.kill(worker)
    shutil.rmtree(worker.state)
    shutil.copytree(copy, worker.state)
    yield from _bring_back(target, worker)


def _hurt_cache(target: Target, hurt: Callable[[Worker], None], *, is_killed: bool = True) -> Steps:
    worker = target.draw_worker()
    if worker is None:
        return
    target.busy.add(worker.name)
    if is_killed:
        target.kill(worker)
    else:
        # Only a store that was closed has written all it holds, and can be damaged where it matters.
        worker.ask_to_stop()
        yield worker.has_ended
        worker.close()
    hurt(worker)
    yield from _bring_back(target, worker)


def _damage(state: Path, rng: random.Random) -> None:
    tables = sorted(state.rglob("*.sst"))
    for table in rng.sample(tables, min(len(tables), 1)):
        data = bytearray(table.read_bytes())
        middle = len(data) // 3
        data[middle : middle + 64] = bytes(64)
        table.write_bytes(data)


# --- brokers ---


def kill_broker(target: Target) -> Steps:
    """Kill -9 of one of three."""
    yield from _lose_broker(target, is_killed=True)


def restart_broker(target: Target) -> Steps:
    """A clean stop and start, as in a rolling upgrade."""
    yield from _lose_broker(target, is_killed=False)


def lose_all_brokers(target: Target) -> Steps:
    """None is left for a while."""
    yield from _take_brokers(target)
    for broker in target.cluster.brokers:
        broker.kill()
    yield target.outage_seconds
    for broker in target.cluster.brokers:
        broker.launch()
    yield target.cluster.is_whole
    target.busy.discard("brokers")


def _lose_broker(target: Target, *, is_killed: bool) -> Steps:
    yield from _take_brokers(target)
    broker = target.rng.choice(target.cluster.brokers)
    if is_killed:
        broker.kill()
    else:
        broker.stop()
    yield target.rng.uniform(0, 8)
    broker.launch()
    yield target.cluster.is_whole
    target.busy.discard("brokers")


def _take_brokers(target: Target) -> Steps:
    """Two faults at once would leave no quorum, which only one of them is for."""
    yield lambda: "brokers" not in target.busy
    target.busy.add("brokers")
    yield target.cluster.is_whole


# --- transactions ---


def hold_commits(target: Target) -> Steps:
    """Requests that end transactions are late, or their replies never come."""
    before = sum(proxy.held for proxy in target.cluster.proxies)
    for _ in range(HELD_MAX):
        proxy = target.rng.choice(target.cluster.proxies)
        proxy.hold(target.rng.choice(list(Hold)), target.rng.uniform(1, 12))
    yield 12.0
    for proxy in target.cluster.proxies:
        proxy.forgive()
    held = sum(proxy.held for proxy in target.cluster.proxies) - before
    target.counts["held"] += held


def leave_transaction_open(target: Target) -> Steps:
    """Somebody's transaction on `commands` stays open for a while, and holds back what is behind it."""
    producer = Producer(
        {
            "bootstrap.servers": target.cluster.bootstrap_servers,
            "transactional.id": f"foreign-{target.rng.random()}",
            "transaction.timeout.ms": 60_000,
            "log_level": 0,
        }
    )
    yield lambda: "brokers" not in target.busy
    producer.init_transactions(CLIENT_SECONDS)
    producer.begin_transaction()
    for partition in range(2):
        producer.produce(target.commands, b"never to be seen", b"foreign", partition)
    producer.flush(CLIENT_SECONDS)
    yield target.rng.uniform(3, 12)
    yield lambda: "brokers" not in target.busy
    try:
        producer.abort_transaction(CLIENT_SECONDS)
    except KafkaException as problem:
        # The brokers were away for so long that they ended it themselves.
        if problem.args[0].code() != KafkaError._FENCED:
            raise


FAULTS: dict[str, Callable[[Target], Steps]] = {
    "worker kill": kill_worker,
    "supervised kill": kill_child,
    "worker stop/cont": freeze_worker,
    "rebalance storm": storm,
    "cache deleted": delete_cache,
    "table damaged": damage_table,
    "old cache": put_back_old_cache,
    "broker kill": kill_broker,
    "broker restart": restart_broker,
    "all brokers down": lose_all_brokers,
    "EndTxn held": hold_commits,
    "foreign transaction": leave_transaction_open,
}
