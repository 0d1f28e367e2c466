"""What the dashboard shows: rows of panels, each with its queries. `ops.generate` makes Grafana's JSON of it.

Every query is about one data source and one app; a test compares metrics and labels with the engine's table.
"""

from typing import NamedTuple


class Panel(NamedTuple):
    """A panel: its title, unit, queries with their legends, and what to think of it."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    about: str = ""


class Row(NamedTuple):
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


APP = 'app_id=~"$app",workflow_name=~"$workflow"'


def _quantile(q: float, metric: str, by: str = "", where: str = "$pod") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple((_quantile(q, metric), text) for q, text in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %")))


def _rates(metric: str, by: str, where: str = "$pod") -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def _rate(metric: str, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    return ((f"sum by ({by}) (rate({metric}{{$pod}}[$__rate_interval]))", legend),)


def _max(metric: str, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    return ((f"max by ({by}) ({metric}{{$pod}})", legend),)


ROWS = (
    Row(
        "Is it well?",
        (
            Panel(
                "Processes up",
                "short",
                (
                    ('sum(up{job="engine",instance=~"$instance"})', "up"),
                    ('sum(up{job="engine-gateway",instance=~"$instance"})', "gateways up"),
                    ("sum(engine_group_member{$pod})", "members of their group"),
                ),
            ),
            Panel(
                "Partitions by state",
                "short",
                (("sum by (status) (engine_partitions_owned{$pod})", "{{status}}"),),
                "All should be live. What is not owned at all is missing here.",
            ),
            Panel("Damaged partitions", "short", (("sum(engine_partitions_damaged{$pod})", "damaged"),)),
            Panel(
                "Stalled runs",
                "short",
                (("sum by (reason) (engine_instances_stalled{$pod})", "{{reason}}"),),
                "Each waits for its code to be put right.",
            ),
            Panel(
                "Dead letters",
                "short",
                (
                    (
                        "sum by (reason) (increase(engine_dead_letters_total{$pod}[$__rate_interval]))",
                        "{{reason}}",
                    ),
                ),
            ),
            Panel(
                "Losses, failed claims",
                "short",
                (
                    ("sum by (reason) (increase(engine_losses_total{$pod}[$__rate_interval]))", "{{reason}}"),
                    (
                        "sum(increase(engine_claim_failures_total{$pod}[$__rate_interval]))",
                        "claims that failed",
                    ),
                    ("sum(increase(engine_reclaims_total{$pod}[$__rate_interval]))", "claimed again"),
                ),
            ),
        ),
    ),
    Row(
        "Workflows and activities",
        (
            Panel(
                "Runs ended",
                "ops",
                (
                    (
                        _rates("dapr_runtime_workflow_execution_count", "workflow_name, status", APP),
                        "{{workflow_name}} {{status}}",
                    ),
                ),
            ),
            Panel(
                "Begin to end, 95 %",
                "ms",
                (
                    (
                        _quantile(
                            0.95, "dapr_runtime_workflow_execution_latency", "workflow_name", where=APP
                        ),
                        "{{workflow_name}}",
                    ),
                ),
            ),
            Panel(
                "Start to first turn, 95 %",
                "ms",
                (
                    (
                        _quantile(
                            0.95, "dapr_runtime_workflow_scheduling_latency", "workflow_name", where=APP
                        ),
                        "{{workflow_name}}",
                    ),
                ),
            ),
            Panel(
                "Commands",
                "ops",
                (
                    (
                        _rates(
                            "dapr_runtime_workflow_operation_count", "operation, status", 'app_id=~"$app"'
                        ),
                        "{{operation}} {{status}}",
                    ),
                ),
            ),
            Panel(
                "Attempts ended",
                "ops",
                (
                    (
                        _rates("engine_activity_run_seconds_count", "activity, status"),
                        "{{activity}} {{status}}",
                    ),
                ),
            ),
            Panel(
                "Attempts, 95 %",
                "s",
                (
                    (
                        _quantile(0.95, "engine_activity_run_seconds", "activity"),
                        "{{activity}} runs",
                    ),
                    (
                        _quantile(0.95, "engine_activity_queue_seconds"),
                        "waits for a thread",
                    ),
                ),
            ),
            Panel(
                "Attempts under way",
                "short",
                (
                    ("sum(engine_activities_running{$pod})", "running"),
                    ("sum(engine_activities_queued{$pod})", "queued"),
                ),
            ),
            Panel(
                "Size of ended runs by its bound, 99 %",
                "percentunit",
                (
                    (
                        _quantile(
                            0.99, "dapr_runtime_workflow_payload_size_ratio", "workflow_name", where=APP
                        ),
                        "{{workflow_name}}",
                    ),
                ),
                "A run stalls at 100 %: use continue_as_new before.",
            ),
        ),
    ),
    Row(
        "What waits",
        (
            Panel("Commands not taken in", "short", (("sum(engine_commands_lag_records{$pod})", "records"),)),
            Panel("Commands: oldest", "s", _max("engine_commands_lag_seconds", "partition", "{{partition}}")),
            Panel(
                "Commands held by an open transaction",
                "s",
                _max("engine_commands_held_seconds", "partition", "{{partition}}"),
                "A producer of commands that began a transaction and did not end it.",
            ),
            Panel("Inbox without a turn", "short", (("sum(engine_inbox_lag_records{$pod})", "records"),)),
            Panel("Inbox: oldest", "s", _max("engine_inbox_lag_seconds", "partition", "{{partition}}")),
            Panel("Inbox stamp to turn", "s", _quantiles("engine_inbox_wait_seconds")),
            Panel(
                "Messages between instances", "short", (("sum(engine_outbox_unacknowledged{$pod})", "open"),)
            ),
            Panel(
                "Timers late",
                "s",
                (
                    *_quantiles("engine_timer_late_seconds"),
                    ("max(engine_timer_overdue_seconds{$pod})", "overdue now"),
                ),
            ),
        ),
    ),
    Row(
        "Owners",
        (
            Panel("Turns", "ops", _rate("engine_turns_total", "partition", "{{partition}}")),
            Panel("Seconds per turn", "s", _quantiles("engine_turn_seconds")),
            Panel("Commit seconds", "s", _quantiles("engine_commit_seconds")),
            Panel("Commits", "ops", _rate("engine_commits_total", "outcome", "{{outcome}}")),
            Panel("Commit size", "bytes", _quantiles("engine_commit_bytes")),
            Panel("Records per commit", "short", _quantiles("engine_commit_records")),
            Panel(
                "Oldest uncommitted", "s", _max("engine_uncommitted_seconds", "partition", "{{partition}}")
            ),
            Panel(
                "In memory",
                "short",
                (
                    ("sum(engine_instances_live{$pod})", "live instances"),
                    ("sum(engine_executions_live{$pod})", "executions"),
                    ("sum(engine_timers_armed{$pod})", "timers"),
                ),
            ),
            Panel(
                "Replays, duplicates, orphans, gaps",
                "ops",
                (
                    ("sum(rate(engine_replays_total{$pod}[$__rate_interval]))", "replays"),
                    ("sum(rate(engine_duplicates_total{$pod}[$__rate_interval]))", "duplicates"),
                    ("sum(rate(engine_orphan_results_total{$pod}[$__rate_interval]))", "orphan results"),
                    ("sum(rate(engine_gaps_total{$pod}[$__rate_interval]))", "gaps"),
                ),
            ),
            Panel("Restores", "s", _quantiles("engine_restore_seconds")),
            Panel(
                "Claiming for", "s", _max("engine_partition_claiming_seconds", "partition", "{{partition}}")
            ),
            Panel(
                "Local cache", "bytes", (("sum by (instance) (engine_rocksdb_bytes{$pod})", "{{instance}}"),)
            ),
        ),
    ),
    Row(
        "Retention",
        (
            Panel("Purged", "ops", _rate("engine_retention_purged_total", "partition", "{{partition}}")),
            Panel(
                "Next purge overdue",
                "s",
                _max("engine_retention_overdue_seconds", "partition", "{{partition}}"),
                "It grows while more ends than --retention-per-second lets go.",
            ),
        ),
    ),
    Row(
        "Gateways and their read models",
        (
            Panel(
                "Requests",
                "ops",
                (
                    (
                        _rates("engine_gateway_requests_total", "method, route, status"),
                        "{{status}} {{method}} {{route}}",
                    ),
                ),
            ),
            Panel(
                "Request seconds, 95 %",
                "s",
                (
                    (
                        _quantile(
                            0.95,
                            "engine_gateway_request_seconds",
                            "method, route",
                            '$pod,route!~".*/(wait|events)"',
                        ),
                        "{{method}} {{route}}",
                    ),
                ),
                "Without waits and streams, which last as long as is wished.",
            ),
            Panel(
                "Commands by outcome",
                "ops",
                _rate("engine_gateway_commands_total", "outcome", "{{outcome}}"),
                "Undecided: no worker answered in time.",
            ),
            Panel("Command to answer", "s", _quantiles("engine_gateway_command_seconds")),
            Panel(
                "Operations as their callers see them, 95 %",
                "ms",
                (
                    (
                        _quantile(
                            0.95,
                            "dapr_runtime_workflow_operation_latency",
                            "operation, status",
                            'app_id=~"$app"',
                        ),
                        "{{operation}} {{status}}",
                    ),
                ),
            ),
            Panel(
                "Under way",
                "short",
                (
                    ("sum(engine_gateway_requests_under_way{$pod})", "requests"),
                    ("sum(engine_gateway_waits{$pod})", "of them waits"),
                    ("sum(engine_gateway_streams{$pod})", "of them streams"),
                ),
            ),
            Panel(
                "Gateways ready",
                "short",
                (
                    ("sum(engine_gateway_connected{$pod})", "connected"),
                    ("sum(engine_gateway_ready{$pod})", "ready"),
                ),
            ),
            Panel(
                "Read model behind",
                "s",
                _max("engine_projection_lag_seconds", "instance, partition", "{{instance}} {{partition}}"),
            ),
            Panel(
                "Read model behind, offsets",
                "short",
                (("sum by (instance) (engine_projection_lag_records{$pod})", "{{instance}}"),),
            ),
            Panel(
                "Events taken in", "ops", _rate("engine_projection_events_total", "instance", "{{instance}}")
            ),
            Panel("Read model's files", "bytes", _max("engine_projection_bytes", "instance", "{{instance}}")),
        ),
    ),
    Row(
        "Processes",
        (
            Panel("CPU", "short", _rate("process_cpu_seconds_total", "instance", "{{instance}}")),
            Panel("Memory", "bytes", _max("process_resident_memory_bytes", "instance", "{{instance}}")),
            Panel(
                "Owners' thread stood", "s", _max("engine_owner_stood_seconds", "instance", "{{instance}}")
            ),
            Panel(
                "Builds",
                "short",
                (("count by (version, build) (engine_build_info{$pod})", "{{version}} {{build}}"),),
            ),
        ),
    ),
)
