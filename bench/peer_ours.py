"""Our engine as a peer of others: the same six workloads, in one run, by a harness that lies elsewhere.

Run by the harness, whose folder is on the path: `python run.py --extra ours=bench/peer_ours.py@PYTHON`.
"""

import asyncio
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import common  # noqa: E402 -- the harness's
from workloads import Peer, main_for  # noqa: E402

from engine.client import AsyncWorkflowClient  # noqa: E402
from ops.kafka.cluster import BrokerOptions, KafkaCluster  # noqa: E402

PARTITIONS = int(os.environ.get("OURS_PARTITIONS", "4"))
PROCESSES = int(os.environ.get("OURS_PROCESSES", "1"))
WINDOW = int(os.environ.get("OURS_WINDOW", "200"))
READY_SECONDS = 60
WARM_UP = int(os.environ.get("OURS_WARM_UP", "4000"))
WARM_UP_ALONE = int(os.environ.get("OURS_WARM_UP_ALONE", "2000"))


class Ours(Peer):
    name = "ours"

    def __init__(self, args, *, is_synced=False):
        self.is_synced = is_synced
        self.sizes = {"w1_window": WINDOW}
        flush = "flush.messages=1: an fsync for every append" if is_synced else "Kafka's default flushing"
        self.about = {
            "durability": f"one Kafka broker, acks=all, {flush}; replication 1; {PARTITIONS} partitions",
            "activities": "threads of the worker process",
            "server": f"Apache Kafka, one broker, KRaft, warmed up by {WARM_UP} + {WARM_UP_ALONE} workflows",
            "worker": f"engine worker, {PROCESSES} owner process(es) with ingress and activities",
            "client": f"asyncio, one process, at most {WINDOW} in flight in W1, reads committed history",
        }
        self.cluster = self.worker = self.client = None

    async def up(self):
        folder = Path(self.workdir)
        settings = {"log.flush.interval.messages": "1"} if self.is_synced else {}
        self.cluster = KafkaCluster(folder / "kafka", 1, options=BrokerOptions(settings=settings))
        await asyncio.to_thread(self.cluster.start)
        self._spawn()
        await asyncio.to_thread(self.worker.wait_line, "ready", READY_SECONDS)
        self.client = AsyncWorkflowClient.kafka(bootstrap_servers=self.cluster.bootstrap_servers, app="bench")
        await self._warm_up()

    async def _warm_up(self):
        """Until the broker's code is compiled: a Kafka that a company runs is warm."""
        for wave in range(WARM_UP // 200):
            await asyncio.gather(*(self.run("chain", f"warm-{wave}-{i}", i) for i in range(200)))
        # A broker that serves one run at a time takes other ways through its code.
        for i in range(WARM_UP_ALONE):
            await self.run("chain", f"warm-alone-{i}", i)

    def _spawn(self):
        self.generation = getattr(self, "generation", 0) + 1
        words = [sys.executable, "-m", "engine.cli.main", "worker", "--app", "bench", "--dev"]
        words += ["--bootstrap-servers", self.cluster.bootstrap_servers, "--partitions", str(PARTITIONS)]
        words += ["--processes", str(PROCESSES), "--state-dir", f"{self.workdir}/state", "bench.flows:app"]
        log = f"{self.workdir}/worker-{self.generation}.log"
        self.worker = common.Proc(words, log, cwd=str(ROOT))

    async def start(self, wf, wid, arg):
        return await self.client.schedule_new_workflow(wf, input=arg, instance_id=wid)

    async def result(self, handle):
        state = await self.client.wait_for_workflow_completion(handle, timeout_in_seconds=120)
        if state.serialized_output is None:
            raise RuntimeError(f"{handle}: {state.runtime_status} {state.failure_details}")
        return json.loads(state.serialized_output)

    async def signal(self, wid, value):
        await self.client.raise_workflow_event(wid, "deliver", data=value)

    def kill_worker(self):
        self.worker.kill9()

    async def restart_worker(self):
        self._spawn()
        await asyncio.to_thread(self.worker.wait_line, "ready", READY_SECONDS)

    def server_pids(self):
        return [broker.pid for broker in self.cluster.brokers if broker.pid is not None]

    def worker_pids(self):
        return [self.worker.pid]

    async def down(self):
        if self.client is not None:
            await self.client.close()
        if self.worker is not None:
            self.worker.stop(timeout=5)
        if self.cluster is not None:
            await asyncio.to_thread(self.cluster.stop)


def versions(_):
    return {"kafka": "4.3.1", "confluent-kafka": version("confluent-kafka"), "fastavro": version("fastavro")}


if __name__ == "__main__":
    main_for("ours", {"default": lambda a: Ours(a), "fsync": lambda a: Ours(a, is_synced=True)}, versions)
