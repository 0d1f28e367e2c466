"""Logging for workflow code: each line once, however often the code is replayed."""

import logging
from collections.abc import MutableMapping
from typing import Any

from typing_extensions import override

from engine.core.context import WorkflowContext


class _ReplaySafe(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, context: WorkflowContext, logger: logging.Logger) -> None:
        super().__init__(logger, {"instance_id": context.instance_id, "run_id": context.run_id})
        self._context = context

    @override
    def isEnabledFor(self, level: int) -> bool:
        return not self._context.is_replaying and super().isEnabledFor(level)

    @override
    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def replay_safe_logger(
    context: WorkflowContext, logger: logging.Logger | str = "workflow"
) -> logging.LoggerAdapter[logging.Logger]:
    """A logger that is silent while `context`'s workflow is being replayed, and names its instance and run.

    Args:
        context: The workflow's context.
        logger: Where the lines go, or its name.

    """
    return _ReplaySafe(context, logging.getLogger(logger) if isinstance(logger, str) else logger)
