"""Every setting of a worker, declared once: name, default, unit, bounds, what for. Reads no environment.

The command line, the environment variables and the reference in the documentation are made from `declared()`.
"""

import dataclasses
import typing
from typing import Any

import msgspec

from engine.errors import ConfigurationError
from engine.kafka.settings import KafkaSettings
from engine.model.retention import RetentionPolicy, parse_duration_ms
from engine.node.worker import WorkerSettings
from engine.partition.context import OwnerSettings

_KAFKA = KafkaSettings(bootstrap_servers="", app="")
_WORKER = WorkerSettings()
_OWNER = OwnerSettings()

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("json", "text")
PROCESSES_MAX = 256


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, as its users see it."""

    name: str
    kind: type
    default: Any
    unit: str
    prose: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"ENGINE_{self.name.upper()}"

    @property
    def option(self) -> str:
        """The option of the command line that sets it. It wins over the variable."""
        return f"--{self.name.replace('_', '-')}"


def _setting(
    default: Any,
    prose: str,
    *,
    unit: str = "",
    bounds: tuple[float | None, float | None] = (None, None),
    choices: tuple[str, ...] = (),
) -> Any:
    about = {"prose": prose, "unit": unit, "bounds": bounds, "choices": choices}
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a worker is told. Raises ConfigurationError for a value out of its bounds."""

    # --- the app and its Kafka ---

    app: str = _setting(
        "", "Required. The app whose instances are run: the middle part of its topics' names."
    )
    bootstrap_servers: str = _setting(
        "", "Where Kafka is: host:port, several with commas. Required, here or in --config."
    )
    config: str = _setting(
        "", "A file of name=value lines for the Kafka client: security, credentials, buffers.", unit="path"
    )
    namespace: str = _setting(_KAFKA.namespace, "The first part of all topics' names.")
    partitions: int = _setting(
        _KAFKA.partitions,
        "Partitions of inbox and history, fixed at their creation: the most processes that share the work.",
        bounds=(1, 10_000),
    )
    dev: bool = _setting(
        _KAFKA.is_dev,
        "For a single broker: missing topics are created, replication 1 is accepted. Not for data you need.",
    )

    # --- the process ---

    state_dir: str = _setting(
        "",
        "Where the caches are, by default .engine/state/<app>. May be deleted while no worker runs: "
        "it is rebuilt from Kafka.",
        unit="path",
    )
    processes: int = _setting(
        1,
        "Worker processes, best one per core. From 2 on a supervisor starts again what dies.",
        bounds=(1, PROCESSES_MAX),
    )
    log_level: str = _setting("info", "The least severe records that are logged.", choices=LOG_LEVELS)
    log_format: str = _setting(
        "json", "How records are logged on stderr: a JSON object or a line of text each.", choices=LOG_FORMATS
    )
    metrics_port: int = _setting(
        0,
        "Where /metrics and /healthz are served: this port plus the number of the process's slot, from 0 on. "
        "0 serves none.",
        bounds=(0, 65_535),
    )
    metrics_host: str = _setting("127.0.0.1", "The address they are served on. They ask for no password.")
    switch_interval_ms: float = _setting(
        5.0,
        "How long a Python thread may keep the others waiting. Lower it where activities compute much in "
        "threads: turns wait less, at a fifth of the throughput.",
        unit="ms",
        bounds=(0.01, 1_000),
    )
    activity_threads_max: int = _setting(
        _WORKER.activity_threads_max, "Sync activities that run at once in a process.", bounds=(1, 10_000)
    )
    turn_seconds_max: float = _setting(
        _WORKER.turn_seconds_max,
        "A turn of workflow code that takes longer ends its process, for it keeps all others from running.",
        unit="s",
        bounds=(1, 3_600),
    )

    # --- owners ---

    commit_interval_ms: int = _setting(
        _OWNER.commit_interval_ms,
        "How long a turn waits at most for its commit; outcomes and messages don't wait.",
        unit="ms",
        bounds=(0, 10_000),
    )
    commit_bytes_max: int = _setting(
        _OWNER.commit_bytes_max, "A commit begins at this size.", unit="bytes", bounds=(1_000, 100_000_000)
    )
    commit_records_max: int = _setting(
        _OWNER.commit_records_max, "A commit begins at this many inbox records.", bounds=(1, 100_000)
    )
    uncommitted_records_max: int = _setting(
        _OWNER.uncommitted_records_max,
        "How far an owner runs ahead of its commits, in inbox records: so much a crash may derive again.",
        bounds=(1, 1_000_000),
    )
    uncommitted_bytes_max: int = _setting(
        _OWNER.uncommitted_bytes_max,
        "An owner whose next commit holds this much takes nothing further in until it is begun.",
        unit="bytes",
        bounds=(1_000_000, 4_000_000_000),
    )
    live_executions_max: int = _setting(
        _OWNER.live_executions_max,
        "Suspended workflow functions kept in memory per partition; the others are replayed when needed.",
        bounds=(1, 10_000_000),
    )
    timers_per_tick_max: int = _setting(
        _OWNER.timers_per_tick_max,
        "Due timers fired in one go, before the inbox goes on.",
        bounds=(1, 100_000),
    )
    purge_records_max: int = _setting(
        _OWNER.purge_records_max, "Tombstones that one commit writes for purges.", bounds=(1, 100_000)
    )
    retention_any_terminal: str = _setting(
        "",
        "How long finished instances are kept, counted from their end: then they are purged. By default for "
        "ever. 90s, 1h30m, 30d; 0s purges at once.",
        unit="duration",
    )
    retention_completed: str = _setting("", "The same for completed ones alone.", unit="duration")
    retention_failed: str = _setting("", "The same for failed ones alone.", unit="duration")
    retention_terminated: str = _setting("", "The same for terminated ones alone.", unit="duration")
    retention_per_second: int = _setting(
        _OWNER.retention_per_second,
        "Instances that retention purges at most, per second and partition.",
        bounds=(1, 100_000),
    )
    trim_interval_ms: int = _setting(
        _OWNER.trim_interval_ms,
        "How often inbox records that are processed and committed are let go.",
        unit="ms",
        bounds=(100, 86_400_000),
    )
    lives_forgiven_ms: int = _setting(
        _OWNER.lives_forgiven_ms,
        "A process that lives this long with a partition is not counted as killed by one of its records.",
        unit="ms",
        bounds=(1_000, 86_400_000),
    )
    standstill_ms: int = _setting(
        _OWNER.standstill_ms,
        "An owner that stood still longer commits before it acts, for it may have lost its partition.",
        unit="ms",
        bounds=(100, 60_000),
    )
    build: str = _setting(_OWNER.build, "A name for the running code, noted in each commit.")

    # --- Kafka ---

    session_timeout_ms: int = _setting(
        _KAFKA.session_timeout_ms,
        "A process that is dead and not restarted loses its partitions after this time.",
        unit="ms",
        bounds=(1_000, 1_800_000),
    )
    heartbeat_interval_ms: int = _setting(
        _KAFKA.heartbeat_interval_ms,
        "How often a process tells the group that it lives, and hears what it owns.",
        unit="ms",
        bounds=(50, 60_000),
    )
    max_poll_interval_ms: int = _setting(
        _KAFKA.max_poll_interval_ms,
        "A process whose owners stand still loses its partitions after this time.",
        unit="ms",
        bounds=(1_000, 86_400_000),
    )
    transaction_timeout_ms: int = _setting(
        _KAFKA.transaction_timeout_ms,
        "How long a dead owner's transaction may hold up readers of its partition, where nobody takes over.",
        unit="ms",
        bounds=(1_000, 900_000),
    )
    commit_timeout_ms: int = _setting(
        _KAFKA.commit_timeout_ms,
        "How long a commit may take before its outcome counts as unknown.",
        unit="ms",
        bounds=(1_000, 900_000),
    )
    request_timeout_ms: int = _setting(
        _KAFKA.request_timeout_ms,
        "How long any other request to Kafka may take.",
        unit="ms",
        bounds=(500, 900_000),
    )
    committers: int = _setting(
        _KAFKA.committers, "Threads that commit, shared by the partitions of a process.", bounds=(1, 64)
    )

    def __post_init__(self) -> None:
        for each in declared():
            _check(each, getattr(self, each.name))
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            message = (
                f"expected heartbeat_interval_ms to be at most a third of session_timeout_ms="
                f"{self.session_timeout_ms}, but it is {self.heartbeat_interval_ms}; lower it"
            )
            raise ConfigurationError(message)

    def owner(self) -> OwnerSettings:
        """The owners' part."""
        values = dataclasses.asdict(self) | {"retention": self.retention()}
        return msgspec.convert(values, OwnerSettings)

    def retention(self) -> RetentionPolicy:
        """How long finished instances are kept."""
        return RetentionPolicy(
            any_terminal_ms=_duration_ms(self.retention_any_terminal),
            completed_ms=_duration_ms(self.retention_completed),
            failed_ms=_duration_ms(self.retention_failed),
            terminated_ms=_duration_ms(self.retention_terminated),
        )

    def worker(self) -> WorkerSettings:
        """The worker's part."""
        return WorkerSettings(
            activity_threads_max=self.activity_threads_max,
            turn_seconds_max=self.turn_seconds_max,
            owner=self.owner(),
        )

    def kafka(self, member: str, extra: dict[str, str]) -> KafkaSettings:
        """The connection's part, for one member of the group; `extra` is what the file of `config` says."""
        # What is told twice must not be told differently: here the setting wins, as the command line's do.
        kept = {name: value for name, value in extra.items() if name != "bootstrap.servers"}
        values = dataclasses.asdict(self) | {"member": member, "is_dev": self.dev, "extra": kept}
        return msgspec.convert(values, KafkaSettings)


def declared() -> tuple[Declared, ...]:
    """All settings, in the order in which they are best read."""
    kinds = typing.get_type_hints(Settings)
    return tuple(
        Declared(
            name=field.name,
            kind=kinds[field.name],
            default=field.default,
            unit=field.metadata["unit"],
            prose=field.metadata["prose"],
            minimum=field.metadata["bounds"][0],
            maximum=field.metadata["bounds"][1],
            choices=field.metadata["choices"],
        )
        for field in dataclasses.fields(Settings)
    )


def _check(setting: Declared, value: Any) -> None:
    if setting.choices and value not in setting.choices:
        message = f"expected {setting.name} to be one of {', '.join(setting.choices)}, but it is {value!r}"
        raise ConfigurationError(message)
    if setting.unit == "duration":
        _check_duration(setting, value)
    if setting.minimum is None or setting.maximum is None or setting.minimum <= value <= setting.maximum:
        return
    bounds = f"{setting.minimum:,} and {setting.maximum:,}"
    unit = f" {setting.unit}" if setting.unit else ""
    message = (
        f"expected {setting.name} to be between {bounds}{unit}, but it is {value:,}; "
        f"change {setting.option} or {setting.variable}"
    )
    raise ConfigurationError(message)


def _check_duration(setting: Declared, value: str) -> None:
    try:
        _duration_ms(value)
    except ValueError as error:
        message = f"{setting.name}: {error}; change {setting.option} or {setting.variable}"
        raise ConfigurationError(message) from error


def _duration_ms(value: str) -> int | None:
    return parse_duration_ms(value) if value else None
