"""A broker that stood still comes back under a new leader epoch, on connections that never broke."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from engine.client.kafka import KafkaConnection
from engine.errors import LogUnavailableFault
from engine.kafka.log import KafkaLog
from engine.kafka.settings import KafkaSettings
from ops.kafka.cluster import KafkaCluster
from ops.kafka.distribution import Distribution
from tests.integration.conftest import freeze

# Longer than the session of a broker with its controller, which ops/kafka sets to 3 s.
STANDSTILL_SECONDS = 6.0
PATIENCE_SECONDS = 60.0
CLAIMS = 5


def test_owners_and_clients_find_the_log_again_after_its_broker_stood_still(
    kafka_distribution: Distribution, tmp_path: Path
) -> None:
    with KafkaCluster(tmp_path, 1) as cluster:
        settings = KafkaSettings(
            bootstrap_servers=cluster.bootstrap_servers, app="still", partitions=1, is_dev=True
        )
        log = KafkaLog(settings)
        claim = log.claim(0)
        while not log.assignment():
            threading.Event().wait(0.05)
        log.follow(claim, 0)
        connection = KafkaConnection(settings)
        ends = connection.ends()
        pid = freeze(cluster.brokers[0])
        # Nobody can tell now. Who waited would hold up all partitions, until the watchdog ends the process.
        assert log.holds_membership(claim)
        threading.Event().wait(STANDSTILL_SECONDS)
        os.kill(pid, signal.SIGCONT)
        # More than one: the old epoch is refused only once the broker is let in again.
        for _ in range(CLAIMS):
            log.release(claim)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    claim = log.claim(0)
                    break
                except LogUnavailableFault:
                    assert time.monotonic() < deadline, "no claim has come through"
                    threading.Event().wait(1)
        assert connection.ends() == ends
        connection.close()
        log.release(claim)
        log.close()
