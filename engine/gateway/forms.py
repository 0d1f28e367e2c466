"""Dapr's forms: how an instance, a payload and an error look over HTTP. No request is carried out here."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from engine.client.errors import UnreachableError
from engine.client.state import text_of
from engine.core.values import JSON_TYPES
from engine.gateway.answers import Answer, Refused, Undecided
from engine.gateway.http import OUTCOME, UNDECIDED, Call, Problem, malformed
from engine.model.failure import Payload
from engine.model.state import Status
from engine.projection import Instance

ID_LENGTH_MAX = 64
ID = re.compile(r"[a-zA-Z0-9_-]+")
FORM_TYPE = "application/x-www-form-urlencoded"
_BINARY = "application/octet-stream"


class Started(msgspec.Struct, frozen=True, rename={"instance_id": "instanceID"}):
    """The answer to a start."""

    instance_id: str


class Done(msgspec.Struct, frozen=True):
    """The answer to every other command: nothing."""


class State(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "instance_id": "instanceID",
        "workflow_name": "workflowName",
        "created_at": "createdAt",
        "last_updated_at": "lastUpdatedAt",
        "runtime_status": "runtimeStatus",
    },
):
    """An instance as Dapr shows it. The values of `properties` are JSON texts."""

    instance_id: str
    workflow_name: str
    created_at: str
    last_updated_at: str
    runtime_status: str
    properties: dict[str, str]


class Failing(msgspec.Struct, frozen=True):
    """How an operation's failure is worded. `is_404`: a missing instance has a status of its own."""

    code: str
    prefix: str
    is_404: bool = False

    def because(self, cause: str) -> Problem:
        """It failed."""
        return Problem(500, self.code, f"{self.prefix}{cause}")

    def by(self, refused: Refused) -> Problem:
        """It was refused."""
        message = f"{self.prefix}{refused.detail or refused.reason}"
        return Problem(500, self.code, message, is_decided=True)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """A log that does not answer is the operation's failure."""
        try:
            yield
        except UnreachableError as error:
            raise self.because(str(error)) from error


def state_of(instance: Instance) -> State:
    """An instance in Dapr's form."""
    row, failure = instance.row, instance.failure
    properties = {
        "dapr.workflow.custom_status": row.custom_status,
        "dapr.workflow.input": _text_of(instance.input),
        "dapr.workflow.output": _text_of(instance.output),
        "dapr.workflow.failure.error_type": None if failure is None else failure.error_type,
        "dapr.workflow.failure.error_message": None if failure is None else failure.message,
        "dapr.workflow.failure.stack_trace": None if failure is None else failure.stack_trace,
    }
    return State(
        instance_id=row.instance_id,
        workflow_name=row.workflow,
        created_at=rfc3339(row.created_at_ms),
        last_updated_at=rfc3339(row.updated_at_ms),
        # Dapr's enumeration over HTTP has no word for it.
        runtime_status="UNKNOWN" if row.status is Status.STALLED else row.status.value,
        properties={name: value for name, value in properties.items() if value is not None},
    )


def _text_of(payload: Payload | None) -> str | None:
    """As it was given: what Dapr calls serialized."""
    if payload is not None and not payload.data:
        return ""
    return text_of(payload)


def rfc3339(at_ms: int) -> str:
    """A time in UTC, with milliseconds where it has any."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds' if at_ms % 1000 else 'seconds')}Z"


def payload_of(call: Call) -> Payload:
    """The body as a payload: JSON wherever it is, for `curl -d` says it was a form. Raises Problem."""
    content_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not call.body:
        return Payload(b"")
    try:
        msgspec.json.decode(call.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if content_type in JSON_TYPES - {""} | {FORM_TYPE}:
            # Or what curl says of a body unasked: a slip of the pen is likelier than bytes of somebody's own.
            raise malformed(error) from None
        return Payload(call.body, content_type or _BINARY)
    return Payload(call.body)


def outcome_of(answer: Answer) -> dict[str, str]:
    """The header that says what became of a command, for those who want to know more than Dapr tells."""
    if isinstance(answer, Refused):
        return {OUTCOME: f"refused; reason={answer.reason}"}
    return {OUTCOME: UNDECIDED if isinstance(answer, Undecided) else "accepted"}


def not_found(instance_id: str) -> Problem:
    """There is no such instance."""
    message = f"unable to find workflow with the provided instance ID: {instance_id}"
    return Problem(404, "ERR_INSTANCE_ID_NOT_FOUND", message, is_decided=True)


def known_id(call: Call) -> str:
    """The instance that is meant. Raises Problem."""
    instance_id: str = call["instance"]
    if not instance_id:
        raise Problem(400, "ERR_INSTANCE_ID_PROVIDED_MISSING", "no instance ID was provided")
    return instance_id


def check_new_id(instance_id: str) -> None:
    """Raises Problem for what Dapr allows no new instance to be called."""
    if not instance_id:
        raise Problem(400, "ERR_INSTANCE_ID_PROVIDED_MISSING", "no instance ID was provided")
    if len(instance_id) > ID_LENGTH_MAX:
        message = f"workflow instance ID exceeds the max length of {ID_LENGTH_MAX} characters"
        raise Problem(400, "ERR_INSTANCE_ID_TOO_LONG", message)
    if not ID.fullmatch(instance_id):
        message = (
            f"workflow instance ID '{instance_id}' is invalid: only alphanumeric and underscore characters "
            "are allowed"
        )
        raise Problem(400, "ERR_INSTANCE_ID_INVALID", message)


def instance_id_of_key(key: str) -> str:
    """The id of an instance that is started without one: the same for the same key, on every gateway."""
    return hashlib.blake2b(
        key.encode("utf-8", "surrogatepass"), digest_size=16, person=b"idempotency"
    ).hexdigest()


def check_ignored(call: Call) -> None:
    """Raises Problem for a body that is no JSON, though nobody looks at what it says."""
    if call.body:
        call.decode(object)
