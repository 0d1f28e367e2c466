"""The table of a worker's metrics: name, kind, labels, meaning with its unit. `ops.generate` writes it down.

A metric that isn't here is not exported, and one that is here always is: a test compares.
"""

from engine.telemetry.table import Kind, Metric

_C, _G, _H, _U = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM, Kind.UNTYPED
_P = ("partition",)
_WORKFLOW = ("app_id", "namespace", "workflow_name", "status")
_ACTIVITY = ("app_id", "namespace", "activity_name", "status")
_DAPR = "dapr_runtime_workflow_"

METRICS = (
    # --- turns ---
    Metric("engine_turns_total", _C, "Turns taken: inbox records that came to a decision.", _P),
    Metric("engine_events_total", _C, "History events recorded.", _P),
    Metric("engine_turn_seconds", _H, "Seconds per turn, as the mean of the turns of one pass."),
    Metric("engine_replays_total", _C, "Executions brought back from history.", _P),
    Metric("engine_instances_live", _G, "Runs in memory that are not over.", _P),
    Metric("engine_executions_live", _G, "Suspended workflow functions in memory.", _P),
    Metric("engine_duplicates_total", _C, "Inbox records dropped because they were there already.", _P),
    Metric("engine_gaps_total", _C, "Inbox records refused because one before them was missing.", _P),
    Metric("engine_orphan_results_total", _C, "Results and timers that came too late, or twice.", _P),
    Metric("engine_dead_letters_total", _C, "Records refused.", ("reason",)),
    Metric("engine_stalls_total", _C, "Runs that stalled.", ("reason",)),
    Metric("engine_instances_stalled", _G, "Runs that are stalled now.", ("reason",)),
    # --- commits ---
    Metric("engine_commits_total", _C, "Commits by outcome: committed, fenced, doubt.", ("outcome",)),
    Metric("engine_commit_seconds", _H, "Seconds from the begin of a commit until it was in the log."),
    Metric("engine_commit_records", _H, "History records per commit, without its checkpoint."),
    Metric("engine_commit_bytes", _H, "Bytes of history values per commit."),
    Metric("engine_uncommitted_seconds", _G, "Seconds since the oldest turn without a commit.", _P),
    Metric("engine_outbox_unacknowledged", _G, "Messages to other instances not known to be there.", _P),
    Metric("engine_rocksdb_bytes", _G, "Bytes of the files of the local cache.", _P),
    # --- what waits ---
    Metric("engine_inbox_lag_records", _G, "Inbox records without a turn.", _P),
    Metric("engine_inbox_lag_seconds", _G, "Seconds for which the oldest of them has been seen.", _P),
    Metric("engine_inbox_wait_seconds", _H, "Seconds from an inbox record's stamp to its turn."),
    Metric("engine_commands_lag_records", _G, "Records of commands that no ingress has put behind it.", _P),
    Metric("engine_commands_lag_seconds", _G, "Seconds for which the oldest of them has been seen.", _P),
    Metric(
        "engine_commands_held_records", _G, "Records of commands behind the begin of an open transaction.", _P
    ),
    Metric("engine_commands_held_seconds", _G, "Seconds for which one open transaction holds commands.", _P),
    Metric("engine_lag_sample_age_seconds", _G, "Seconds since these lags were last read from the log."),
    Metric("engine_ingress_forwarded_total", _C, "Records of commands appended to the inbox."),
    Metric("engine_ingress_refused_total", _C, "Of those, records forwarded as a refusal."),
    Metric("engine_ingress_restarts_total", _C, "Times the ingress began again after a failed append."),
    Metric("engine_ingress_held", _G, "Records of commands read and held back, for owners are behind."),
    # --- timers ---
    Metric("engine_timers_armed", _G, "Timers in memory, those included that nobody waits for now.", _P),
    Metric("engine_timers_fired_total", _C, "Timers fired.", _P),
    Metric("engine_timer_late_seconds", _H, "Seconds from a timer's time until it was fired."),
    Metric("engine_timer_overdue_seconds", _G, "Seconds by which the next timer is overdue.", _P),
    # --- retention ---
    Metric("engine_retention_purged_total", _C, "Finished instances purged by retention.", _P),
    Metric("engine_retention_overdue_seconds", _G, "Seconds by which the next of them is overdue.", _P),
    # --- activities ---
    Metric("engine_activities_started_total", _C, "Attempts asked for."),
    Metric("engine_activities_queued", _G, "Attempts that no thread has taken up."),
    Metric("engine_activities_running", _G, "Attempts under way, those in other processes included."),
    Metric("engine_activity_queue_seconds", _H, "Seconds from asking for an attempt to its begin."),
    Metric("engine_activity_run_seconds", _H, "Seconds that attempts ran.", ("activity", "status")),
    # --- partitions ---
    Metric("engine_partitions_owned", _G, "Partitions owned, by where their owner is.", ("status",)),
    Metric("engine_partitions", _G, "Partitions that the app has: so many should be live, over all workers."),
    Metric("engine_partitions_damaged", _G, "Partitions given up, for their log or configuration is wrong."),
    Metric(
        "engine_partition_claiming_seconds", _G, "Seconds since a partition is assigned and not live.", _P
    ),
    Metric("engine_claims_total", _C, "Claims begun."),
    Metric("engine_claim_failures_total", _C, "Claims that failed and are tried again."),
    Metric("engine_reclaims_total", _C, "Claims begun anew after a loss, as still a member of the group."),
    Metric("engine_losses_total", _C, "Partitions lost: fenced, doubt, cache or inbox.", ("reason",)),
    Metric("engine_restore_seconds", _H, "Seconds from claiming a partition to its restored state."),
    Metric("engine_restored_records_total", _C, "History records read by restores."),
    # --- the process ---
    Metric("engine_group_member", _G, "1 while this process is a member of the group of owners, else 0."),
    Metric("engine_owner_stood_seconds", _G, "Seconds since the owners' thread was last seen to move."),
    Metric("engine_calls_under_way", _G, "Attempts begun by the owners whose outcome is not on record yet."),
    Metric("engine_build_info", _G, "Always 1; what runs here.", ("version", "build")),
    # --- Dapr's ---
    Metric(
        f"{_DAPR}operation_count",
        _U,
        "Commands decided on.",
        ("app_id", "namespace", "operation", "status"),
    ),
    Metric(f"{_DAPR}execution_count", _U, "Runs ended; recoverable: runs that stalled.", _WORKFLOW),
    Metric(f"{_DAPR}execution_latency", _H, "Milliseconds from the begin of runs to their end.", _WORKFLOW),
    Metric(
        f"{_DAPR}scheduling_latency",
        _H,
        "Milliseconds from a start's place in the inbox to its turn.",
        ("app_id", "namespace", "workflow_name"),
    ),
    Metric(
        f"{_DAPR}payload_size_ratio",
        _H,
        "History of ended runs by its bound, in events or bytes.",
        ("app_id", "namespace", "workflow_name"),
    ),
    Metric(f"{_DAPR}activity_operation_count", _U, "Attempts ended.", _ACTIVITY),
    Metric(f"{_DAPR}activity_operation_latency", _H, "Milliseconds from asking to the outcome.", _ACTIVITY),
    Metric(f"{_DAPR}activity_execution_count", _U, "Attempts ended.", _ACTIVITY),
    Metric(f"{_DAPR}activity_execution_latency", _H, "Milliseconds that attempts ran.", _ACTIVITY),
)
BY_NAME = {metric.name: metric for metric in METRICS}
