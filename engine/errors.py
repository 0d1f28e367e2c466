"""Every exception of the engine, named for what its handler does next.

EngineError
├─ PublicError              for users
│  ├─ TaskFailedError       raised at a `yield`: an activity or child failed
│  ├─ NonRetryableError     raise it in an activity: no retry will help
│  ├─ NonDeterminismError   the code does other things than its history says
│  ├─ LimitExceededError    a bound was reached; the text names value, limit and remedy
│  ├─ InvalidCommandError   a command that can't be accepted
│  ├─ InstanceNotFoundError
│  └─ ConfigurationError    settings or topics that the engine refuses to run on
└─ Fault                    never leaves the node
   ├─ FencedFault           a later owner has this partition → drop everything; no abort, no retry
   ├─ CacheCorruptFault     → wipe the store, restore from the history
   ├─ LogUnavailableFault   → back off, then claim again
   ├─ CommitUnknownFault    → drop the producers, claim again; never commit again on the old ones
   └─ LogDamagedFault       history or inbox contradict the checkpoint → stop this partition loudly
"""

from typing_extensions import override

from engine.model.failure import Failure


class EngineError(Exception):
    """The root of what the engine raises."""


class PublicError(EngineError):
    """For users to catch."""


class FailureDetails:
    """How a call failed: Dapr's `FailureDetails`."""

    def __init__(self, message: str, error_type: str, stack_trace: str | None) -> None:
        self.message = message
        self.error_type = error_type
        self.stack_trace = stack_trace

    @override
    def __repr__(self) -> str:
        return f"FailureDetails(message={self.message!r}, error_type={self.error_type!r})"


class TaskFailedError(PublicError):
    """An activity or a child workflow failed for good. `details` says how."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message)
        self.failure = failure
        self.details = FailureDetails(failure.message, failure.type, failure.stack or None)

    @override
    def __reduce__(self) -> tuple[type["TaskFailedError"], tuple[str, Failure]]:
        return (TaskFailedError, (str(self), self.failure))


class NonRetryableError(PublicError):
    """Raised by an activity to say that no retry will help."""


class NonDeterminismError(PublicError):
    """Workflow code and recorded history disagree; the instance stalls until the code is mended."""


class LimitExceededError(PublicError):
    """A bound was reached. `actual` is over `limit`; what would help is `remedy`."""

    def __init__(self, what: str, actual: int, limit: int, remedy: str) -> None:
        super().__init__(f"expected {what} to be at most {limit:,}, but it is {actual:,}; {remedy}")
        self.what = what
        self.actual = actual
        self.limit = limit
        self.remedy = remedy

    @override
    def __reduce__(self) -> tuple[type["LimitExceededError"], tuple[str, int, int, str]]:
        return (LimitExceededError, (self.what, self.actual, self.limit, self.remedy))


class InvalidCommandError(PublicError):
    """A command whose values can't be accepted. The text names the value and what was expected."""


class InstanceNotFoundError(PublicError):
    """No such instance exists."""


class ConfigurationError(PublicError):
    """Settings, topics or files that the engine refuses to run on."""


class Fault(EngineError):
    """Our process or its surroundings in trouble. Never shown to workflow code."""


class FencedFault(Fault):
    """A later owner has claimed this partition."""


class CacheCorruptFault(Fault):
    """The local store can't be trusted."""


class LogUnavailableFault(Fault):
    """The log can't be reached now."""


class CommitUnknownFault(Fault):
    """A commit was sent and its outcome is not known."""


class LogDamagedFault(Fault):
    """The log contradicts the checkpoint: truncated, re-created, or written by someone else.

    `partition` says of which partition, where one is to blame.
    """

    def __init__(self, message: str, partition: int | None = None) -> None:
        super().__init__(message)
        self.partition = partition

    @override
    def __reduce__(self) -> tuple[type["LogDamagedFault"], tuple[str, int | None]]:
        return (LogDamagedFault, (str(self), self.partition))
