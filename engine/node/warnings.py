"""Tells the operator what a turn warned of: in one line for each topic of a run, however often it comes.

A line that was told may come again after a restart, or when many others came between; never is one lost.
"""

import logging

from engine.model.effects import Warn

log = logging.getLogger(__name__)

REMEMBERED_MAX = 10_000


class Warnings:
    """What this process has told. The owners' thread uses it."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], None] = {}

    def tell(self, warning: Warn) -> None:
        """Logs it, unless it was told."""
        key = (warning.run_id, warning.topic)
        if key in self._told:
            return
        if len(self._told) >= REMEMBERED_MAX:
            del self._told[next(iter(self._told))]
        self._told[key] = None
        about = {"instance_id": warning.instance_id, "run_id": warning.run_id}
        log.warning("%s", warning.text, extra=about)
