"""The client for synchronous code. It shows only what is committed; what it sends may still be refused."""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.client import deadletters, reading, requests, waiting
from engine.client.connection import Connection
from engine.client.errors import no_instance
from engine.client.fold import Fold
from engine.client.mirror import Mirror
from engine.client.opening import open_embedded, open_kafka
from engine.client.requests import Request, Workflow
from engine.client.state import WorkflowHistoryEvent, WorkflowState, WorkflowStatus
from engine.client.tail import Tail
from engine.errors import PublicError


class WorkflowClient:
    """Starts workflows and asks after them, with the method names of Dapr's `DaprWorkflowClient`.

    Any number of threads may share one client, and should: they share its connections and its one tail.

        with WorkflowClient.kafka(bootstrap_servers="localhost:9092", app="orders") as client:
            instance_id = client.schedule_new_workflow("order", input={"item": "tea"})
            state = client.wait_for_workflow_completion(instance_id, timeout_in_seconds=30)
            print(state.runtime_status, state.output)

    All methods that send a command return when it is durable (all replicas have it). Whether the instance
    accepts it is then decided by its owner: what is refused goes to the dead letters, with the reason.
    """

    def __init__(self, connection: Connection) -> None:
        """Takes over a connection and closes it in the end. See `kafka` and `embedded`."""
        self._connection = connection
        self._tail = Tail(connection)

    @classmethod
    def kafka(
        cls,
        *,
        bootstrap_servers: str,
        app: str,
        namespace: str = "wf",
        config: Mapping[str, str] | None = None,
    ) -> Self:
        """Opens a client of an app on Kafka.

        Args:
            bootstrap_servers: Kafka's addresses, "host:port,host:port".
            app: The app whose workflows are meant.
            namespace: What the names of all topics begin with.
            config: Further librdkafka settings, such as those for TLS and SASL.

        Raises:
            UnreachableError: No broker answered within 10 s.
            ConfigurationError: The app's topics do not exist, or `config` sets what the engine relies on.

        """
        return cls(open_kafka(bootstrap_servers, app, namespace, config))

    @classmethod
    def embedded(cls, directory: Path | str) -> Self:
        """Opens a client of the embedded log in `directory`, which another process may own.

        Raises:
            ConfigurationError: There is no embedded log.

        """
        return cls(open_embedded(directory))

    # --- commands ---

    def schedule_new_workflow(
        self,
        workflow: Workflow,
        *,
        input: Any = None,  # noqa: A002 -- Dapr's name
        instance_id: str | None = None,
        start_at: datetime | timedelta | None = None,
    ) -> str:
        """Asks for a new run of a workflow.

        Args:
            workflow: The function, or the name it is registered by.
            input: Any value that JSON can say; at most 512 KiB as JSON.
            instance_id: By default a random one. An instance that is still active refuses a second start.
            start_at: Not before this time, UTC where it has no zone; or a time from now.

        Returns:
            The instance id.

        Raises:
            InvalidCommandError: A name or value can't be accepted; nothing was sent.
            LimitExceededError: A value is too large; nothing was sent.
            UnreachableError: It was not acknowledged within 30 s, and may have been taken all the same; or
                the log did not tell within 10 s where it ends, and nothing was sent.

        """
        request = requests.start(workflow, input, instance_id, start_at)
        # Before it is published: whatever comes of it lies behind this position.
        self._tail.expect(request.instance_id, is_new=instance_id is None)
        self._publish(request)
        return request.instance_id

    def raise_workflow_event(self, instance_id: str, event_name: str, *, data: Any = None) -> None:
        """Brings an external event to an instance; it waits there until the workflow asks for it.

        Raises:
            InvalidCommandError: A name or value can't be accepted; nothing was sent.
            LimitExceededError: A value is too large; nothing was sent.
            UnreachableError: It was not acknowledged within 30 s. It may have been taken all the same.

        """
        self._publish(requests.raise_event(instance_id, event_name, data))

    def terminate_workflow(self, instance_id: str, *, output: Any = None, recursive: bool = True) -> None:
        """Ends a run where it stands, with `output`; its child workflows too when `recursive`.

        Raises:
            InvalidCommandError: A value can't be accepted; nothing was sent.
            LimitExceededError: A value is too large; nothing was sent.
            UnreachableError: It was not acknowledged within 30 s. It may have been taken all the same.

        """
        self._publish(requests.terminate(instance_id, output, recursive=recursive))

    def pause_workflow(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspends a run: none of its code runs until it is resumed; what arrives meanwhile is recorded.

        Raises:
            InvalidCommandError: A value can't be accepted; nothing was sent.
            UnreachableError: It was not acknowledged within 30 s. It may have been taken all the same.

        """
        self._publish(requests.suspend(instance_id, reason))

    def resume_workflow(self, instance_id: str, *, reason: str | None = None) -> None:
        """Ends a suspension.

        Raises:
            InvalidCommandError: A value can't be accepted; nothing was sent.
            UnreachableError: It was not acknowledged within 30 s. It may have been taken all the same.

        """
        self._publish(requests.resume(instance_id, reason))

    def purge_workflow(self, instance_id: str, *, recursive: bool = True, force: bool = False) -> None:
        """Removes a finished instance and its history, and its children; a running one only with `force`.

        A child that still runs stays, and leaves a dead letter that says so.

        Raises:
            InvalidCommandError: A value can't be accepted; nothing was sent.
            UnreachableError: It was not acknowledged within 30 s. It may have been taken all the same.

        """
        self._publish(requests.purge(instance_id, recursive=recursive, force=force))

    def send(self, request: Request) -> None:
        """Sends a command that `engine.client.requests` has made, for programs that have them as values.

        Raises:
            UnreachableError: It was not acknowledged within 30 s. It may have been taken all the same.

        """
        self._publish(request)

    # --- questions ---

    def get_workflow_state(self, instance_id: str, *, fetch_payloads: bool = True) -> WorkflowState | None:
        """The instance as it is committed now, None where there is none. Reads the history of its partition.

        Raises:
            UnreachableError: The log did not answer.

        """
        fold = reading.fold_instance(self._connection, Fold(instance_id))
        return fold.shown(fetch_payloads=fetch_payloads)

    def get_workflow_history(self, instance_id: str) -> list[WorkflowHistoryEvent]:
        """The facts of the newest run in their order. Runs that were continued as new are not kept.

        Raises:
            InstanceNotFoundError: There is no such instance.
            UnreachableError: The log did not answer.

        """
        fold = Fold(instance_id, keeps_events=True)
        reading.fold_instance(self._connection, fold)
        if fold.state is None:
            raise no_instance(instance_id)
        return fold.events

    def list_workflow_instances(
        self,
        *,
        name: str | None = None,
        status: str | WorkflowStatus | Sequence[str | WorkflowStatus] | None = None,
        prefix: str = "",
        fetch_payloads: bool = False,
    ) -> list[WorkflowState]:
        """All instances, the newest first. Reads all of history: for people and tests, not for every request.

        Args:
            name: Only those of this workflow.
            status: Only those of this status, or of one of these.
            prefix: Only those whose instance id begins like this.
            fetch_payloads: Whether to show inputs, outputs and custom status too.

        Raises:
            InvalidCommandError: There is no such status.
            UnreachableError: The log did not answer.

        """
        wanted = reading.filter_of(name, status, prefix)
        return reading.list_instances(self._connection, wanted, fetch_payloads=fetch_payloads)

    def read_dead_letters(self) -> Iterator[deadletters.DeadLetterEntry]:
        """The records that were refused and are still kept, partition by partition, the oldest first.

        Raises:
            UnreachableError: The log did not answer.

        """
        return deadletters.read_dead_letters(self._connection)

    # --- waits ---

    def wait_for_workflow_start(
        self, instance_id: str, *, timeout_in_seconds: float = 60, fetch_payloads: bool = True
    ) -> WorkflowState:
        """Waits until the workflow's code has begun to run.

        Raises:
            TimeoutError: It did not within `timeout_in_seconds`. The text says where it stands.
            UnreachableError: The log can't be read.

        """
        timeout = requests.check_timeout(timeout_in_seconds)
        return self._wait(waiting.for_start(instance_id, timeout, fetch_payloads=fetch_payloads))

    def wait_for_workflow_completion(
        self, instance_id: str, *, timeout_in_seconds: float = 60, fetch_payloads: bool = True
    ) -> WorkflowState:
        """Waits for an outcome: completed, failed or terminated. See `WorkflowState.raise_if_failed`.

        Raises:
            TimeoutError: There was none within `timeout_in_seconds`. The text says where it stands.
            UnreachableError: The log can't be read.

        """
        timeout = requests.check_timeout(timeout_in_seconds)
        return self._wait(waiting.for_completion(instance_id, timeout, fetch_payloads=fetch_payloads))

    # --- life ---

    def close(self) -> None:
        """Ends all waits and lets go of everything. May be called twice."""
        self._tail.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- inside ---

    def _publish(self, request: Request) -> None:
        published: queue.SimpleQueue[PublicError | None] = queue.SimpleQueue()
        self._connection.publish(request.key, request.value, published.put)
        problem = published.get()
        if problem is not None:
            raise problem

    def _wait(self, wait: waiting.Wait) -> WorkflowState:
        woken = threading.Event()
        with self._mirror(wait, woken) as mirror:
            steps = wait.steps(mirror)
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
                woken.wait(seconds)

    @contextmanager
    def _mirror(self, wait: waiting.Wait, woken: threading.Event) -> Iterator[Mirror]:
        mirror = self._tail.wait(wait.instance_id, woken, woken.set)
        if wait.is_curious:
            mirror.curious.add(woken)
        try:
            yield mirror
        finally:
            self._tail.leave(mirror, woken)
