"""What the owners of one process share, and what they may be tuned by."""

from collections.abc import Callable

import msgspec

from engine.core.registry import Registry
from engine.model.effects import RunActivity, Warn
from engine.model.retention import RetentionPolicy
from engine.partition.careful import Exam
from engine.partition.measures import Measures
from engine.partition.notices import Notice
from engine.partition.pace import Pace


class OwnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound and interval of an owner, with its unit."""

    commit_interval_ms: int = 25
    commit_bytes_max: int = 4_000_000
    commit_records_max: int = 5_000
    uncommitted_records_max: int = 20_000
    uncommitted_bytes_max: int = 64_000_000
    live_executions_max: int = 20_000
    timers_per_tick_max: int = 500
    purge_records_max: int = 2_000
    retention: RetentionPolicy = RetentionPolicy()
    retention_per_second: int = 100
    trim_interval_ms: int = 5_000
    lives_forgiven_ms: int = 60_000
    standstill_ms: int = 1_000
    build: str = ""


class OwnerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the owners of a process share.

    The app's code; where activities go (call, partition, whether isolated), and what is told when a pass has
    asked for all of its own; who is on trial; whom warnings are told; the pace; what they
    count; and who is told what was committed that an operator should hear of.
    """

    registry: Registry
    settings: OwnerSettings
    run_activity: Callable[[RunActivity, int, bool], None]
    begin_activities: Callable[[], None] = lambda: None
    exam: Exam
    warn: Callable[[Warn], None] = lambda _: None
    pace: Pace = msgspec.field(default_factory=Pace)
    measures: Measures = msgspec.field(default_factory=Measures)
    notify: Callable[[list[Notice]], None] = lambda _: None
