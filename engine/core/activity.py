"""What activity code is told about the call it serves."""

from engine.model.effects import RunActivity


class WorkflowActivityContext:
    """One attempt of an activity, as the activity's function sees it."""

    def __init__(self, call: RunActivity) -> None:
        self._call = call

    @property
    def workflow_id(self) -> str:
        """The id of the instance that called."""
        return self._call.instance_id

    @property
    def task_id(self) -> int:
        """The number of the call in its run's history."""
        return self._call.scheduled

    @property
    def attempt(self) -> int:
        """Which try this is, from 1. The same attempt may run twice after a crash."""
        return self._call.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this call and for no other call.

        Hand it to whatever must happen once.
        """
        return self._call.call_id.hex()
