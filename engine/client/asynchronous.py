"""The client for asyncio. It never blocks its event loop: what would, runs in a thread."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.client import requests, waiting
from engine.client.client import WorkflowClient
from engine.client.connection import Connection
from engine.client.deadletters import DeadLetterEntry
from engine.client.loop import LoopQueue, Wakeup
from engine.client.mirror import Mirror
from engine.client.opening import open_embedded, open_kafka
from engine.client.requests import Request, Workflow
from engine.client.state import WorkflowHistoryEvent, WorkflowState, WorkflowStatus
from engine.client.tail import Tail


class AsyncWorkflowClient:
    """`WorkflowClient` for asyncio: the same methods, arguments and errors, to be awaited.

        async with AsyncWorkflowClient.kafka(bootstrap_servers="localhost:9092", app="orders") as client:
            instance_id = await client.schedule_new_workflow("order", input={"item": "tea"})
            state = await client.wait_for_workflow_completion(instance_id, timeout_in_seconds=30)

    One client serves one event loop, and any number of tasks. Opening it takes some milliseconds.
    """

    def __init__(self, connection: Connection) -> None:
        """Takes over a connection and closes it in the end. See `kafka` and `embedded`."""
        self._connection = connection
        self._tail = Tail(connection)
        self._sync = WorkflowClient(connection)
        self._queue: LoopQueue | None = None

    @classmethod
    def kafka(
        cls,
        *,
        bootstrap_servers: str,
        app: str,
        namespace: str = "wf",
        config: Mapping[str, str] | None = None,
    ) -> Self:
        """As `WorkflowClient.kafka`."""
        return cls(open_kafka(bootstrap_servers, app, namespace, config))

    @classmethod
    def embedded(cls, directory: Path | str) -> Self:
        """As `WorkflowClient.embedded`."""
        return cls(open_embedded(directory))

    # --- commands ---

    async def schedule_new_workflow(
        self,
        workflow: Workflow,
        *,
        input: Any = None,  # noqa: A002 -- Dapr's name
        instance_id: str | None = None,
        start_at: datetime | timedelta | None = None,
    ) -> str:
        """As `WorkflowClient.schedule_new_workflow`."""
        request = requests.start(workflow, input, instance_id, start_at)
        is_new = instance_id is None
        if not self._tail.expect_at_once(request.instance_id, is_new=is_new):
            await asyncio.to_thread(self._tail.expect, request.instance_id, is_new=is_new)
        await self._publish(request)
        return request.instance_id

    async def raise_workflow_event(self, instance_id: str, event_name: str, *, data: Any = None) -> None:
        """As `WorkflowClient.raise_workflow_event`."""
        await self._publish(requests.raise_event(instance_id, event_name, data))

    async def terminate_workflow(
        self, instance_id: str, *, output: Any = None, recursive: bool = True
    ) -> None:
        """As `WorkflowClient.terminate_workflow`."""
        await self._publish(requests.terminate(instance_id, output, recursive=recursive))

    async def pause_workflow(self, instance_id: str, *, reason: str | None = None) -> None:
        """As `WorkflowClient.pause_workflow`."""
        await self._publish(requests.suspend(instance_id, reason))

    async def resume_workflow(self, instance_id: str, *, reason: str | None = None) -> None:
        """As `WorkflowClient.resume_workflow`."""
        await self._publish(requests.resume(instance_id, reason))

    async def purge_workflow(self, instance_id: str, *, recursive: bool = True, force: bool = False) -> None:
        """As `WorkflowClient.purge_workflow`."""
        await self._publish(requests.purge(instance_id, recursive=recursive, force=force))

    # --- questions ---

    async def get_workflow_state(
        self, instance_id: str, *, fetch_payloads: bool = True
    ) -> WorkflowState | None:
        """As `WorkflowClient.get_workflow_state`."""
        return await asyncio.to_thread(
            self._sync.get_workflow_state, instance_id, fetch_payloads=fetch_payloads
        )

    async def get_workflow_history(self, instance_id: str) -> list[WorkflowHistoryEvent]:
        """As `WorkflowClient.get_workflow_history`."""
        return await asyncio.to_thread(self._sync.get_workflow_history, instance_id)

    async def list_workflow_instances(
        self,
        *,
        name: str | None = None,
        status: str | WorkflowStatus | Sequence[str | WorkflowStatus] | None = None,
        prefix: str = "",
        fetch_payloads: bool = False,
    ) -> list[WorkflowState]:
        """As `WorkflowClient.list_workflow_instances`."""
        return await asyncio.to_thread(
            self._sync.list_workflow_instances,
            name=name,
            status=status,
            prefix=prefix,
            fetch_payloads=fetch_payloads,
        )

    async def read_dead_letters(self) -> list[DeadLetterEntry]:
        """As `WorkflowClient.read_dead_letters`, all at once."""
        return await asyncio.to_thread(lambda: list(self._sync.read_dead_letters()))

    # --- waits ---

    async def wait_for_workflow_start(
        self, instance_id: str, *, timeout_in_seconds: float = 60, fetch_payloads: bool = True
    ) -> WorkflowState:
        """As `WorkflowClient.wait_for_workflow_start`."""
        timeout = requests.check_timeout(timeout_in_seconds)
        return await self._wait(waiting.for_start(instance_id, timeout, fetch_payloads=fetch_payloads))

    async def wait_for_workflow_completion(
        self, instance_id: str, *, timeout_in_seconds: float = 60, fetch_payloads: bool = True
    ) -> WorkflowState:
        """As `WorkflowClient.wait_for_workflow_completion`."""
        timeout = requests.check_timeout(timeout_in_seconds)
        return await self._wait(waiting.for_completion(instance_id, timeout, fetch_payloads=fetch_payloads))

    # --- life ---

    async def close(self) -> None:
        """Ends all waits and lets go of everything. May be called twice."""
        await asyncio.to_thread(self._tail.close)
        await asyncio.to_thread(self._sync.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- inside ---

    def _publish(self, request: Request) -> "asyncio.Future[None]":
        # Giving up the wait does not take a command back.
        published, settle = self._loop_queue().later()
        self._connection.publish(request.key, request.value, settle)
        return published

    def _loop_queue(self) -> LoopQueue:
        if self._queue is None:
            self._queue = LoopQueue(asyncio.get_running_loop())
        return self._queue

    async def _wait(self, wait: waiting.Wait) -> WorkflowState:
        woken = Wakeup(self._loop_queue())
        mirror = self._tail.wait_at_once(wait.instance_id, woken, woken.set_soon)
        if mirror is None:
            mirror = await self._follow(wait.instance_id, woken)
        if wait.is_curious:
            mirror.curious.add(woken)
        try:
            return await self._carry_out(wait.steps(mirror), mirror, woken)
        finally:
            self._tail.leave(mirror, woken)

    async def _follow(self, instance_id: str, woken: Wakeup) -> Mirror:
        waiting_there = asyncio.to_thread(self._tail.wait, instance_id, woken, woken.set_soon)
        following = asyncio.ensure_future(waiting_there)
        try:
            return await asyncio.shield(following)
        except asyncio.CancelledError:
            # The thread goes on: what it enters us for must be left again.
            following.add_done_callback(lambda done: self._leave_late(done, woken))
            raise

    def _leave_late(self, done: "asyncio.Future[Mirror]", woken: Wakeup) -> None:
        if not done.cancelled() and done.exception() is None:
            self._tail.leave(done.result(), woken)

    async def _carry_out(self, steps: waiting.Steps, mirror: Mirror, woken: Wakeup) -> WorkflowState:
        while True:
            # Cleared before the steps look: what comes after the look wakes again.
            woken.clear()
            try:
                seconds = next(steps)
            except StopIteration as met:
                state: WorkflowState = met.value
                return state
            if seconds is None:
                self._tail.ask(mirror)
                seconds = waiting.READ_LOOK_S
            # The steps know whether the time is over, or it is time to look elsewhere.
            await woken.wait(seconds)
