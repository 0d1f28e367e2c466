"""Tells the log what an operator should hear of: names and places, never a payload, and never without end."""

import logging

import msgspec

from engine.partition.notices import Notice

log = logging.getLogger(__name__)

# Of one commit. A flood of refused records must not become one of log lines; metrics count them all.
LINES_MAX = 10


def tell(notices: list[Notice]) -> None:
    """One line each, with its fields, of what a commit made true."""
    for notice in notices[:LINES_MAX]:
        fields = msgspec.structs.asdict(notice)
        what, reason = fields.pop("what"), fields["reason"]
        fields = {name: value for name, value in fields.items() if value != ""}
        log.warning("%s: %s", what, reason, extra=fields)
    if len(notices) > LINES_MAX:
        log.warning("%d more in the same commit", len(notices) - LINES_MAX)
