"""A local Kafka of one broker, or of three that can be killed and restarted one by one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.kafka.broker import STOP_SECONDS_MAX, BrokerOptions, KafkaBroker
from ops.kafka.distribution import Distribution
from ops.kafka.layout import load_or_choose, save
from ops.kafka.locking import Say, say_on_stderr
from ops.kafka.prepare import prepare

# Kafka itself would let a broker without a quorum wait five minutes for leave to go.
STOP_TOGETHER_SECONDS_MAX = 10.0
DEFAULT_OPTIONS = BrokerOptions()


class KafkaCluster:
    """All of it below one directory; its data and ports survive `stop`. A `with` starts and stops it."""

    def __init__(
        self,
        directory: Path,
        brokers: int | None = None,
        *,
        ports: Sequence[int] | None = None,
        options: BrokerOptions = DEFAULT_OPTIONS,
        say: Say = say_on_stderr,
    ) -> None:
        """Touches nothing yet. Without `brokers` and `ports`: as the directory says, else one on any port."""
        self.directory = directory.absolute()
        self._say = say
        self._layout = load_or_choose(self.directory, brokers, ports)
        self.brokers = tuple(
            KafkaBroker(
                self.directory / f"broker-{node.node_id}", self._layout, node, options, self._get_distribution
            )
            for node in self._layout.nodes
        )

    @property
    def bootstrap_servers(self) -> str:
        """Of all brokers, the dead ones included: they may come back."""
        return self._layout.bootstrap_servers

    def start(self) -> None:
        """Returns once every broker serves requests; those that run already are left alone."""
        absent = [broker for broker in self.brokers if broker.pid is None]
        if absent:
            self._get_distribution()
            self.directory.mkdir(parents=True, exist_ok=True)
            # Saved before anything is formatted: data without its cluster id could never be started again.
            save(self._layout, self.directory)
        try:
            with ThreadPoolExecutor(len(self.brokers)) as pool:
                list(pool.map(KafkaBroker.launch, absent))
            for broker in self.brokers:
                broker.wait_ready()
        except BaseException:
            for broker in absent:
                broker.kill()
            raise

    def stop(self) -> None:
        """Ask all at once. Of three, the last one finds no quorum to resign to and may have to be killed."""
        seconds_max = STOP_SECONDS_MAX if len(self.brokers) == 1 else STOP_TOGETHER_SECONDS_MAX
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            list(pool.map(lambda broker: broker.stop(seconds_max), self.brokers))

    def kill(self) -> None:
        """For who throws the data away: at once, where three brokers take 6 s to resign in good order."""
        for broker in self.brokers:
            broker.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @cached_property
    def _distribution(self) -> Distribution:
        return prepare(self._say)

    def _get_distribution(self) -> Distribution:
        return self._distribution
