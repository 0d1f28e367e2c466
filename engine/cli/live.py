"""What is shown as it changes: on a terminal in its place, elsewhere line by line. It changes nothing."""

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from engine.cli.access import Access
from engine.cli.show import (
    console,
    event_row,
    events_table,
    line_of,
    listed,
    show_one_of_many,
    state_fields,
    state_row,
    states_table,
)
from engine.client import WorkflowHistoryEvent, WorkflowState, WorkflowStatus
from engine.client.reading import Filter

# So many lines of a terminal are kept for what is not the table.
OTHER_LINES = 8
EVENTS_MAX = 1_000
REFRESH_S = 0.5
OUTCOMES = {
    "InstanceCompleted": WorkflowStatus.COMPLETED,
    "InstanceFailed": WorkflowStatus.FAILED,
    "InstanceTerminated": WorkflowStatus.TERMINATED,
}


def follow_instance(access: Access, state: WorkflowState, form: str) -> WorkflowStatus:
    """Shows the events of an instance until it is over; returns how it ended, or stands at Ctrl-C."""
    status = state.runtime_status
    with suppress(KeyboardInterrupt):
        if form == "table" and is_terminal():
            return _follow_in_place(access, state)
        for event in access.follow(state.instance_id):
            show_one_of_many(form, event.to_json(), line_of(event_row(event)))
            if event.event_type in OUTCOMES:
                return OUTCOMES[event.event_type]
    return status


def watch_instances(access: Access, wanted: Filter, limit: int, form: str) -> None:
    """Shows the newest instances as they change, until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        if form == "table" and is_terminal():
            _watch_in_place(access, wanted, limit)
        else:
            _watch_in_lines(access, wanted, limit, form)


def is_terminal() -> bool:
    """Whether what is shown can be shown anew in its place."""
    return sys.stdout.isatty()


# --- in place ---


def _follow_in_place(access: Access, state: WorkflowState) -> WorkflowStatus:
    screen = console()
    newest: deque[WorkflowHistoryEvent] = deque(maxlen=EVENTS_MAX)
    fields = state_fields(state)
    with Live(console=screen, auto_refresh=True) as live:
        for event in access.follow(state.instance_id):
            newest.append(event)
            room = max(1, screen.height - OTHER_LINES - fields.row_count)
            shown = events_table(list(newest)[-room:])
            if event.event_type in OUTCOMES:
                ended = access.find(state.instance_id) or state
                live.update(Group(state_fields(ended), "", shown), refresh=True)
                return OUTCOMES[event.event_type]
            live.update(Group(fields, "", shown, Spinner("dots", "following; Ctrl-C ends")))
    return state.runtime_status


def _watch_in_place(access: Access, wanted: Filter, limit: int) -> None:
    screen = console()
    with Live(console=screen, auto_refresh=True) as live:
        for states in _lists(access, wanted, limit):
            room = max(1, screen.height - OTHER_LINES)
            live.update(Group(states_table(states[:room]), "", _summary(states)))


def _summary(states: list[WorkflowState]) -> RenderableType:
    counts = Counter(state.runtime_status.value for state in states)
    text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"
    at = datetime.now(UTC).strftime("%H:%M:%S")
    return Text(f"{text}, as of {at} UTC; Ctrl-C ends", style="dim")


# --- in lines ---


def _watch_in_lines(access: Access, wanted: Filter, limit: int, form: str) -> None:
    shown: dict[str, tuple[str, WorkflowStatus]] = {}
    for states in _lists(access, wanted, limit):
        # The newest come first, and are told last.
        for state in reversed(states):
            now = (state.run_id, state.runtime_status)
            if shown.get(state.instance_id) != now:
                shown[state.instance_id] = now
                show_one_of_many(form, listed(state), line_of(state_row(state)))


def _lists(access: Access, wanted: Filter, limit: int) -> Iterator[list[WorkflowState]]:
    """The list now, and again when something has changed, but not more often than people can read."""
    changes = _Changes(access)
    while True:
        changes.wait()
        yield access.instances(wanted, limit, None).states
        time.sleep(REFRESH_S)


class _Changes:
    """Whether anything has changed. A thread listens, so that many changes are one."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._news = threading.Event()
        self._failure: BaseException | None = None
        threading.Thread(target=self._listen, name="changes", daemon=True).start()

    def wait(self) -> None:
        """Returns when something has changed since the last call. Raises what ended the listening."""
        self._news.wait()
        # Before the caller looks: what comes during the look is news again.
        self._news.clear()
        if self._failure is not None:
            raise self._failure

    def _listen(self) -> None:
        try:
            for _ in self._access.changes():
                self._news.set()
        except BaseException as problem:  # noqa: BLE001 -- raised where it is waited for
            self._failure = problem
            self._news.set()
