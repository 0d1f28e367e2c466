"""What a client raises beside the engine's own errors. Never a Fault: those are for owners."""

from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import override

from engine.errors import (
    ConfigurationError,
    FailureDetails,
    InstanceNotFoundError,
    LogDamagedFault,
    LogUnavailableFault,
    PublicError,
)

CLOSED = "expected an open client, but it was closed"


class UnreachableError(PublicError):
    """Kafka, or the embedded log, can't be reached or did not answer in time. Trying again may help.

    A command that was on its way may or may not have been taken: look at the instance before you repeat it.
    """


class WorkflowFailedError(PublicError):
    """Raised by `WorkflowState.raise_if_failed`. `details` says how the workflow failed."""

    def __init__(self, message: str, details: FailureDetails) -> None:
        super().__init__(message)
        self.details = details

    @override
    def __reduce__(self) -> tuple[type["WorkflowFailedError"], tuple[str, FailureDetails]]:
        return (WorkflowFailedError, (str(self), self.details))


def no_instance(instance_id: str) -> InstanceNotFoundError:
    """What is raised where nothing is on record of an instance, be it that its start was refused."""
    message = (
        f"expected an instance {instance_id!r}, but there is none on record; "
        "if it was started, 'engine deadletter list' says why not"
    )
    return InstanceNotFoundError(message)


@contextmanager
def faults_made_public() -> Iterator[None]:
    """Words an owner's faults for the users of a client."""
    try:
        yield
    except LogUnavailableFault as fault:
        raise UnreachableError(str(fault)) from fault
    except LogDamagedFault as fault:
        message = f"{fault}; the topic was truncated or made anew: open another client"
        raise ConfigurationError(message) from fault
