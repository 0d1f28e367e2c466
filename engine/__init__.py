"""Durable workflows as ordinary Python, event-sourced on Kafka.

This is the author's API: `import engine as wf`.
"""

from engine.core.activity import WorkflowActivityContext
from engine.core.context import WorkflowContext
from engine.core.policy import RetryPolicy
from engine.core.tasks import Task, when_all, when_any
from engine.errors import (
    ConfigurationError,
    EngineError,
    FailureDetails,
    InstanceNotFoundError,
    InvalidCommandError,
    LimitExceededError,
    NonDeterminismError,
    NonRetryableError,
    PublicError,
    TaskFailedError,
)
from engine.logger import replay_safe_logger
from engine.runtime import WorkflowRuntime, alternate_name

DaprWorkflowContext = WorkflowContext

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "DaprWorkflowContext",
    "EngineError",
    "FailureDetails",
    "InstanceNotFoundError",
    "InvalidCommandError",
    "LimitExceededError",
    "NonDeterminismError",
    "NonRetryableError",
    "PublicError",
    "RetryPolicy",
    "Task",
    "TaskFailedError",
    "WorkflowActivityContext",
    "WorkflowContext",
    "WorkflowRuntime",
    "alternate_name",
    "replay_safe_logger",
    "when_all",
    "when_any",
]
