"""What the codec raises for bytes and values that it can't accept. Never anything else."""

from typing_extensions import override

from engine.errors import InvalidCommandError
from engine.model.effects import Reason


class UndecodableError(InvalidCommandError):
    """Bytes that hold no record, or a command whose values can't be accepted. Trying again will not help."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    @override
    def __reduce__(self) -> tuple[type["UndecodableError"], tuple[Reason, str]]:
        return (UndecodableError, (self.reason, self.detail))
