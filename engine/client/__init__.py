"""Clients of an app: start workflows, raise events, wait for outcomes, read state and history.

`WorkflowClient` for synchronous code, `AsyncWorkflowClient` for asyncio; on Kafka or on the embedded log.
"""

from engine.client.asynchronous import AsyncWorkflowClient
from engine.client.client import WorkflowClient
from engine.client.deadletters import DeadLetterEntry
from engine.client.errors import UnreachableError, WorkflowFailedError
from engine.client.state import WorkflowHistoryEvent, WorkflowState, WorkflowStatus

__all__ = [
    "AsyncWorkflowClient",
    "DeadLetterEntry",
    "UnreachableError",
    "WorkflowClient",
    "WorkflowFailedError",
    "WorkflowHistoryEvent",
    "WorkflowState",
    "WorkflowStatus",
]
