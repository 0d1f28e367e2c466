"""One broker: formats its directory, starts, says when it is ready, stops, dies, comes back on its data.

Its directory holds `server.properties`, `data/`, `logs/broker.log` (Kafka's own), `logs/console.log` (the
JVM's) and `pid`.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.kafka.distribution import FORMAT_TOOL, SERVER, Distribution
from ops.kafka.errors import BrokerFailed
from ops.kafka.layout import Layout, Node
from ops.kafka.network import HOST, kafka_answers, require_free
from ops.kafka.process import POLL_SECONDS, Leash, running_pid, signal_process, wait_ended
from ops.kafka.properties import Settings, SideDoor, server_properties

LOGGING = Path(__file__).with_name("log4j2.properties")
FORMAT_SECONDS_MAX = 120
READY_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
KILL_SECONDS_MAX = 10.0
LOG_LINES_SHOWN = 20


@dataclass(frozen=True)
class BrokerOptions:
    """What a caller may wish of its brokers. A leashed one dies with the process that started it."""

    heap: str = "512m"
    settings: Settings = field(default_factory=dict)
    jvm_flags: tuple[str, ...] = ()
    is_leashed: bool = True
    # By node id.
    side_doors: Mapping[int, SideDoor] = field(default_factory=dict)


class KafkaBroker:
    """A handle: it also finds a broker that an earlier process left running in the same directory."""

    def __init__(
        self,
        directory: Path,
        layout: Layout,
        node: Node,
        options: BrokerOptions,
        distribution: Callable[[], Distribution],
    ) -> None:
        self.directory = directory.absolute()
        self.node = node
        self._layout = layout
        self._options = options
        self._distribution = distribution
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: Leash | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Of this broker alone; a client learns of the others from it."""
        return f"{HOST}:{self.node.port}"

    @property
    def log(self) -> Path:
        """Kafka's own; the first place to look when something is odd."""
        return self.directory / "logs" / "broker.log"

    @property
    def pid(self) -> int | None:
        """None if it does not run."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        return running_pid(self._pid_file, str(self._properties_file))

    def start(self) -> None:
        """Returns once it serves requests, which one of three does only while a second one runs."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start without waiting: a broker of three is ready only after a second one runs too."""
        if self.pid is not None:
            return
        self._forget_process()
        require_free(self.node.port, f"Kafka broker {self.node.node_id}")
        require_free(self.node.controller_port, f"the controller of Kafka broker {self.node.node_id}")
        self.format()
        flags = [f"-Xmx{self._options.heap}", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]
        flags += [f"-Dlog4j2.configurationFile={LOGGING}", f"-Dkafka.logs.dir={self.log.parent}"]
        flags += self._options.jvm_flags
        command = self._distribution().command(SERVER, flags, [str(self._properties_file)])
        with self._console.open("ab") as console:
            # Its own session: an interrupt from the terminal must not take the broker from under the test.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.directory,
            )
        self._pid_file.write_text(str(self._process.pid), encoding="ascii")
        if self._options.is_leashed:
            self._leash = Leash(self._process.pid)

    def format(self) -> None:
        """Write the properties and, only where there is no data yet, the empty log of a new quorum."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        data = self.directory / "data"
        options = self._options
        properties = server_properties(
            self._layout, self.node, data, options.settings, options.side_doors.get(self.node.node_id)
        )
        self._properties_file.write_text(properties, encoding="utf-8")
        if (data / "meta.properties").is_file():
            return
        voters = ",".join(node.voter for node in self._layout.nodes)
        arguments = ["format", "--ignore-formatted", "--cluster-id", self._layout.cluster_id]
        arguments += ["--initial-controllers", voters, "--config", str(self._properties_file)]
        flags = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=OFF"]
        command = self._distribution().command(FORMAT_TOOL, flags, arguments)
        with self._console.open("ab") as console:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=FORMAT_SECONDS_MAX,
            )
        if done.returncode != 0:
            raise self._failed(
                f"formatting the directory of {self._name} ended with status {done.returncode}"
            )

    def wait_ready(self, seconds_max: float = READY_SECONDS_MAX) -> None:
        """Returns once the broker answers a request; raises as soon as its process is seen to have ended."""
        deadline = time.monotonic() + seconds_max
        while not kafka_answers(self.node.port):
            if self._has_ended_within(POLL_SECONDS):
                status = self._process.returncode if self._process is not None else "unknown"
                raise self._failed(f"{self._name} ended with status {status} before it was ready")
            if time.monotonic() > deadline:
                raise self._failed(f"{self._name} did not answer within {seconds_max:.0f} s")

    def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        """Ask it to end, and kill it if it has not within `seconds_max`. Its data stays."""
        if (pid := self.pid) is not None:
            signal_process(pid, signal.SIGTERM)
            if not self._has_ended_within(seconds_max):
                self.kill()
        self._forget_process()

    def kill(self) -> None:
        """As a crash: nothing is flushed, closed or handed over. Returns when it is gone."""
        if (pid := self.pid) is not None:
            signal_process(pid, signal.SIGKILL)
            if not self._has_ended_within(KILL_SECONDS_MAX):
                raise self._failed(f"{self._name} (pid {pid}) is still there after SIGKILL")
        self._forget_process()

    def restart(self) -> None:
        """Stop and start on the same data and ports."""
        self.stop()
        self.start()

    @property
    def _name(self) -> str:
        return f"Kafka broker {self.node.node_id} (port {self.node.port})"

    @property
    def _properties_file(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _console(self) -> Path:
        return self.log.with_name("console.log")

    @property
    def _pid_file(self) -> Path:
        return self.directory / "pid"

    def _has_ended_within(self, seconds: float) -> bool:
        if self._process is None:
            return wait_ended(self._pid_file, str(self._properties_file), seconds)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _forget_process(self) -> None:
        """Only of an ended one. The leash goes too, before its pid can become somebody else's."""
        if self._leash is not None:
            self._leash.drop()
        self._leash = self._process = None
        self._pid_file.unlink(missing_ok=True)

    def _failed(self, what: str) -> BrokerFailed:
        lines = [
            line
            for file in (self.log, self._console)
            if file.is_file()
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        ]
        return BrokerFailed(what, self.log, "\n".join(lines) or "(silent)")
