"""What workflow code holds.

Its clock, randomness and ids come from history, so that a replay sees the same.
"""

import random
import string
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from engine.core import limits
from engine.core.policy import RetryPolicy, milliseconds
from engine.core.registry import name_of
from engine.core.tasks import Task
from engine.core.values import encode_value, signature_of
from engine.model import actions, failure
from engine.model.ids import seed_of

if TYPE_CHECKING:
    from engine.core.execution import Execution

T = TypeVar("T")


class WorkflowContext:
    """The workflow's one door to the world. Every method may be called by workflow code only."""

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution
        self._random_counter = 0

    @property
    def instance_id(self) -> str:
        """The id of this instance."""
        return self._execution.instance_id

    @property
    def run_id(self) -> str:
        """The id of this run; another one after `continue_as_new`."""
        return self._execution.run_id

    @property
    def workflow_name(self) -> str:
        """The name this workflow was started by."""
        return self._execution.workflow

    @property
    def current_utc_datetime(self) -> datetime:
        """The time of the record that this code reacts to, in naive UTC as Dapr gives it."""
        moment = datetime.fromtimestamp(self._execution.now_ms / 1000, tz=UTC)
        return moment.replace(tzinfo=None)

    @property
    def is_replaying(self) -> bool:
        """Whether the code is being brought to where it stood, rather than going on."""
        return self._execution.is_replaying

    def set_custom_status(self, custom_status: str | None) -> None:
        """Shows `custom_status` (at most 16 KiB of UTF-8) to whoever looks at this instance."""
        if custom_status is not None:
            custom_status = str(custom_status)
            size = len(custom_status.encode())
            limits.check("the custom status (bytes)", size, limits.CUSTOM_STATUS_BYTES_MAX, "say less")
        self._execution.set_custom_status(custom_status)

    def create_timer(self, fire_at: datetime | timedelta) -> Task[None]:
        """A task that completes at `fire_at`, at once if that is past. Lasts up to ten years.

        Args:
            fire_at: A span from now, or a moment (naive ones are UTC).

        Raises:
            ValueError: The timer would last too long.
            TypeError: It is neither a span nor a moment.

        """
        return self._execution.propose_timer(self._due_at_ms(fire_at))

    def call_activity(
        self,
        activity: Callable[..., T] | str,
        *,
        input: Any = None,  # noqa: A002 -- Dapr's name; any value JSON can say
        retry_policy: RetryPolicy | None = None,
        app_id: str | None = None,
    ) -> Task[T]:
        """Runs an activity, at least once; the task's result is what it returned.

        A call that nobody has waited for when the run ends is abandoned with it.

        Args:
            activity: The function, or its registered name.
            input: What it gets as its second parameter, up to 512 KiB as JSON.
            retry_policy: How often it is tried again. None: never.
            app_id: The app it belongs to; only the own app for now.

        Raises:
            TaskFailedError: At the `yield`, when the activity failed for good.
            LimitExceededError: The input is too large, or too many activities are open.

        """
        name = _valid("activity name", name_of(activity))
        self._execution.check_app(app_id)
        action = actions.CallActivity(
            name=name,
            input=encode_value(input, f"the input of activity {name!r}"),
            retry=_spec(retry_policy),
            app_id=app_id,
        )
        return self._execution.propose_activity(action, _result_kind(activity))

    def call_child_workflow(
        self,
        workflow: Callable[..., Any] | str,
        *,
        input: Any = None,  # noqa: A002
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        app_id: str | None = None,
    ) -> Task[Any]:
        """Runs another workflow as a child; the task's result is its output.

        Args:
            workflow: The function, or its registered name.
            input: What it gets as its second parameter.
            instance_id: The child's id; by default made from this instance, its run and the call's number.
            retry_policy: How often a failed child is started again, under the same id.
            app_id: The app it belongs to; only the own app for now.

        Raises:
            TaskFailedError: At the `yield`, when the child failed, was terminated, or its id is in use.

        """
        self._execution.check_app(app_id)
        if instance_id is not None:
            problem = limits.invalid_instance_id(instance_id)
            if problem is not None:
                raise ValueError(problem)
        name = _valid("workflow name", name_of(workflow))
        action = actions.CallChild(
            workflow=name,
            input=encode_value(input, f"the input of child workflow {name!r}"),
            instance_id=instance_id,
            retry=_spec(retry_policy),
        )
        return self._execution.propose_child(action)

    def wait_for_external_event(self, name: str, *, timeout: datetime | timedelta | None = None) -> Task[Any]:
        """A task that completes with the next event of that name, in any case; the oldest waiting one first.

        Args:
            name: The event's name.
            timeout: A span or moment; the task then fails with TimeoutError. None: waits for ever.

        """
        _valid("event name", name)
        due_at_ms = None if timeout is None else self._due_at_ms(timeout)
        return self._execution.wait_for_event(name, due_at_ms)

    def continue_as_new(self, new_input: Any, *, save_events: bool = False) -> Task[Any]:
        """Ends this run and starts the workflow over, with an empty history.

        Return, or yield, right after it.

        Args:
            new_input: The next run's input.
            save_events: Whether events that nobody has waited for go along.

        """
        payload = encode_value(new_input, "the new input of continue_as_new")
        return self._execution.propose_continuation(payload, save_events=save_events)

    def is_patched(self, patch_name: str) -> bool:
        """Whether this run takes the new branch of changed code.

        Yes from the first time it gets there live.
        """
        return self._execution.is_patched(_valid("patch name", patch_name))

    # --- the same on every replay ---

    def now(self) -> datetime:
        """`current_utc_datetime`."""
        return self.current_utc_datetime

    def random(self) -> random.Random:
        """A generator of its own, seeded by this run and by how often it was asked before."""
        self._random_counter += 1
        return random.Random(seed_of(self.run_id, self._random_counter))  # noqa: S311 -- not for secrets

    def uuid4(self) -> uuid.UUID:
        """A UUID that every replay gives again."""
        return uuid.UUID(int=self.random().getrandbits(128), version=4)

    def new_guid(self) -> uuid.UUID:
        """`uuid4`."""
        return self.uuid4()

    def random_string(self, length: int, *, alphabet: str | None = None) -> str:
        """`length` characters of `alphabet`, by default letters and digits."""
        return "".join(self.random().choices(alphabet or string.ascii_letters + string.digits, k=length))

    def random_int(self, min_value: int = 0, max_value: int = 2**31 - 1) -> int:
        """A whole number between the two, both included."""
        return self.random().randint(min_value, max_value)

    def random_choice(self, sequence: Sequence[T]) -> T:
        """One element of `sequence`."""
        return self.random().choice(sequence)

    def _due_at_ms(self, moment: datetime | timedelta) -> int:
        now_ms = self._execution.now_ms
        if isinstance(moment, timedelta):
            span = max(moment, timedelta(0))
        elif not isinstance(moment, datetime):
            message = f"expected a timer's end as a timedelta or datetime, but got {moment!r:.100}"
            raise TypeError(message)
        else:
            aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            span = max(aware - datetime.fromtimestamp(now_ms / 1000, tz=UTC), timedelta(0))
        return now_ms + milliseconds("a timer", span)


def _spec(policy: RetryPolicy | None) -> failure.RetryPolicy | None:
    if policy is None:
        return None
    if not isinstance(policy, RetryPolicy):
        message = f"expected retry_policy as a RetryPolicy or None, but got {policy!r:.100}"
        raise TypeError(message)
    return policy.spec


def _valid(what: str, name: str) -> str:
    if not isinstance(name, str):
        message = f"expected {what} as text, but got {name!r:.100}"
        raise TypeError(message)
    problem = limits.invalid_name(what, name)
    if problem is not None:
        raise ValueError(problem)
    return name


def _result_kind(activity: object) -> object:
    return signature_of(activity)[2] if callable(activity) else None
