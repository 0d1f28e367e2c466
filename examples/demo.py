"""The demo: two purchase orders, a worker that is killed in the middle, and what the log says in the end.

    python -m examples.demo              # or: make demo
    python -m examples.demo DIRECTORY    # keeps the log there, for:
    engine history order-1 --via dir --dir DIRECTORY

Everything is real: the worker is a process of its own (`engine dev examples.purchase_order:app`), it is
killed with SIGKILL, and the log is a directory. Ends with an exit code other than 0 if anything is not as
promised.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.cli.show import what
from engine.client import WorkflowClient, WorkflowHistoryEvent, WorkflowState

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 15
LOOK_SECONDS = 0.02
APPROVAL_SECONDS = 4.0
LAPTOP = {"cost": 2400, "product": "laptop", "quantity": 1}
DESK = {"cost": 1900, "product": "desk", "quantity": 2, "approval_seconds": APPROVAL_SECONDS}
ORDERS = {"order-1": LAPTOP, "order-2": DESK}


class BrokenPromiseError(Exception):
    """Something was not as this demo says."""


class Story:
    """Tells what happens, with the seconds since the beginning."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else 120
        self.console = Console(highlight=False, emoji=False, markup=False, width=width)
        self._began = time.monotonic()

    def tell(self, text: str, style: str = "") -> None:
        """One line."""
        self.console.print(Text(f"{time.monotonic() - self._began:5.1f} s  ").append(text, style=style))

    def promise(self, text: str, *, kept: bool) -> None:
        """Says what was promised, and stops the demo where it was not kept."""
        self.tell(f"{'kept' if kept else 'BROKEN'}: {text}", "green" if kept else "bold red")
        if not kept:
            raise BrokenPromiseError(text)


class Worker:
    """`engine dev` in a process of its own. What it prints is told as it comes."""

    def __init__(self, story: Story, name: str, directory: Path) -> None:
        self.name = name
        self.lines: list[str] = []
        self._story = story
        self._news = threading.Condition()
        command = ["-m", "engine.cli.main", "dev", "examples.purchase_order:app", "--dir", str(directory)]
        command.append("--no-http")
        self._process = subprocess.Popen(
            [sys.executable, "-u", *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def wait_for(self, text: str) -> None:
        """Waits until the worker has printed a line with `text`."""
        with self._news:
            has_come = self._news.wait_for(
                lambda: any(text in line for line in self.lines) or self._process.poll() is not None,
                PATIENCE_SECONDS,
            )
        if not has_come or not any(text in line for line in self.lines):
            message = f"{self.name} has not said {text!r} within {PATIENCE_SECONDS} s"
            raise BrokenPromiseError(message)

    def kill(self) -> None:
        """`kill -9`: the process has no chance to do anything more."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()

    def stop(self) -> int:
        """Asks it to stop; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._listener.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._story.tell(f"  {self.name} | {line.rstrip()}", "cyan")
                with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()


def main() -> None:
    """Runs the demo in the directory given, or in one that is deleted afterwards."""
    story = Story()
    try:
        if len(sys.argv) > 1 and Path(sys.argv[1]).exists():
            sys.exit(f"expected a directory that is not there yet, but {sys.argv[1]!r} is; delete it first")
        if len(sys.argv) > 1:
            run(story, Path(sys.argv[1]).absolute())
        else:
            with tempfile.TemporaryDirectory(prefix="engine-demo-") as directory:
                run(story, Path(directory))
    except (BrokenPromiseError, TimeoutError) as problem:
        sys.exit(f"The demo has failed: {problem}")
    story.tell("All as promised.", "bold green")


def run(story: Story, directory: Path) -> None:
    """The whole story, with no worker left running."""
    workers = [Worker(story, "worker 1", directory)]
    try:
        workers[0].wait_for("ready")
        with WorkflowClient.embedded(directory) as client:
            order(story, client)
            killed_at = datetime.now(UTC).replace(tzinfo=None)
            workers[0].kill()
            text = f"worker 1 (process {workers[0].pid}) is dead by SIGKILL, with both orders open"
            story.tell(text, "bold red")
            workers.append(Worker(story, "worker 2", directory))
            workers[1].wait_for("ready")
            approve_and_wait(story, client)
            check(story, client, "".join(line for worker in workers for line in worker.lines))
            for instance_id in ORDERS:
                show_history(story, instance_id, client.get_workflow_history(instance_id), killed_at)
        story.promise("the second worker stops in order when asked to", kept=workers[1].stop() == 0)
    finally:
        for worker in workers:
            worker.stop()


def order(story: Story, client: WorkflowClient) -> None:
    """Two orders over the limit of $1000; both wait for a manager in the end."""
    for instance_id, value in ORDERS.items():
        text = f"{instance_id}: {value['quantity']} x {value['product']} for ${value['cost']} ordered"
        story.tell(text, "bold")
        client.schedule_new_workflow("purchase_order_workflow", input=value, instance_id=instance_id)
        until(client, instance_id, lambda state: state.serialized_custom_status == "waiting for approval")
        story.tell(f"{instance_id} waits for approval: that is committed")
    story.tell(f"order-2 is cancelled unless it is approved within {APPROVAL_SECONDS:.0f} s", "bold")


def approve_and_wait(story: Story, client: WorkflowClient) -> None:
    """One order is approved, the other one is not."""
    client.raise_workflow_event("order-1", "approval_received", data={"approver": "Jane Doe"})
    story.tell("order-1: Jane Doe approves; nobody looks at order-2", "bold")
    for instance_id in ORDERS:
        state = client.wait_for_workflow_completion(instance_id, timeout_in_seconds=PATIENCE_SECONDS)
        story.tell(f"{instance_id}: {state.runtime_status.value}, {state.output!r}", "bold")


def until(client: WorkflowClient, instance_id: str, is_met: Callable[[WorkflowState], bool]) -> None:
    """Looks at the instance until it is where the story goes on."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        state = client.get_workflow_state(instance_id)
        if state is not None and is_met(state):
            return
        if time.monotonic() > deadline:
            message = f"{instance_id} is not waiting for approval within {PATIENCE_SECONDS} s"
            raise BrokenPromiseError(message)
        time.sleep(LOOK_SECONDS)


def check(story: Story, client: WorkflowClient, printed: str) -> None:
    """What a reader of the README may rely on."""
    outputs = [client.wait_for_workflow_completion(each).output for each in ORDERS]
    story.promise("order-1 was approved and placed", kept=outputs[0] == "Approved by 'Jane Doe'")
    story.promise("order-2 was cancelled when its time was over", kept=outputs[1] == "Cancelled")
    steps = ["Reserving stock: laptop", "approval request for order: laptop", "Placing order: laptop"]
    steps += ["Reserving stock: desk", "approval request for order: desk", "Releasing stock: desk"]
    once = all(printed.count(step) == 1 for step in steps)
    story.promise("no step that was on record was repeated after the kill", kept=once)
    story.promise("the desk was never placed", kept="Placing order: desk" not in printed)
    times = {event.event_type: event.timestamp for event in client.get_workflow_history("order-2")}
    waited = (times["TimerFired"] - times["TimerCreated"]).total_seconds()
    text = (
        f"the timer outlived its worker and fired after {waited:.1f} s, not before {APPROVAL_SECONDS:.1f} s"
    )
    story.promise(text, kept=waited >= APPROVAL_SECONDS)


def show_history(
    story: Story, instance_id: str, events: list[WorkflowHistoryEvent], killed_at: datetime
) -> None:
    """The recorded history as a table, with the kill where it was."""
    table = Table("#", "second", "event", "what", title=f"History of {instance_id}", title_justify="left")
    began, was_killed = events[0].timestamp, False
    for event in events:
        if event.timestamp > killed_at and not was_killed:
            was_killed = True
            table.add_section()
            table.add_row(
                "", f"{(killed_at - began).total_seconds():.2f}", Text("kill -9", style="bold red"), ""
            )
            table.add_section()
        second = (event.timestamp - began).total_seconds()
        table.add_row(str(event.event_id), f"{second:.2f}", event.event_type, Text(what(event)))
    story.console.print(table)


if __name__ == "__main__":
    main()
