"""How things end badly, as values, and how often they are tried again."""

import msgspec

MESSAGE_BYTES_MAX = 4 * 1024
STACK_BYTES_MAX = 16 * 1024
CUT_MARK = "… [cut]"


class Payload(msgspec.Struct, frozen=True, gc=False):
    """A user's value on its way: opaque bytes and what they are. An empty content type means JSON."""

    data: bytes
    content_type: str = ""


class Failure(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An activity's, a child's or a workflow's error."""

    type: str
    message: str
    stack: str = ""
    retryable: bool = True

    @property
    def words(self) -> str:
        """What can be said of it, though its author said nothing."""
        return self.message or self.type


class RetryPolicy(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When a failed call is tried again. Attempts count from 1, `attempts_max` includes the first."""

    attempts_max: int
    first_interval_ms: int
    backoff_coefficient: float = 1.0
    interval_ms_max: int | None = None
    timeout_ms: int | None = None
    non_retryable_types: tuple[str, ...] = ()


class ParentLink(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The call that a child answers to."""

    instance_id: str
    run_id: str
    scheduled: int
    call_id: bytes
    attempt: int = 1


def cut(text: str, bytes_max: int) -> str:
    """`text` within `bytes_max` bytes of UTF-8, ending in a mark where something was cut off."""
    data = text.encode("utf-8", "replace")
    if len(data) <= bytes_max:
        return data.decode()
    return data[: bytes_max - len(CUT_MARK.encode())].decode("utf-8", "ignore") + CUT_MARK


def failure_of(failure_type: str, message: str, stack: str = "", *, retryable: bool = True) -> Failure:
    """A failure whose texts are within their bounds."""
    return Failure(
        type=cut(failure_type, 256),
        message=cut(message, MESSAGE_BYTES_MAX),
        stack=cut(stack, STACK_BYTES_MAX),
        retryable=retryable,
    )
