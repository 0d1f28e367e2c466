"""What workflow code waits for: single tasks and their combinations. Completed only by recorded events."""

from collections.abc import Generator, Sequence
from typing import Any, Generic, TypeVar

from typing_extensions import override

from engine.core import limits

T = TypeVar("T")


class Task(Generic[T]):
    """The outcome of something asked for, now or later. `yield` it to wait."""

    __slots__ = ("_error", "_height", "_parents", "_result", "is_complete")

    def __init__(self) -> None:
        self.is_complete = False
        self._height = 0
        self._result: Any = None
        self._error: BaseException | None = None
        self._parents: list[CompositeTask[Any]] = []

    @property
    def is_failed(self) -> bool:
        """Whether the outcome is an error."""
        return self._error is not None

    def get_result(self) -> T:
        """The result. Raises the task's error if it failed, ValueError if it has not completed yet."""
        if not self.is_complete:
            message = "the task has not completed yet; yield it first"
            raise ValueError(message)
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[no-any-return]  # what the annotation of the call promises

    def get_exception(self) -> BaseException:
        """The error of a failed task. Raises ValueError if it did not fail."""
        if self._error is None:
            message = "the task has not failed"
            raise ValueError(message)
        return self._error

    def resume(self, generator: Generator[Any, Any, Any]) -> Any:
        """Gives the outcome to code that waits for it; what that yields next. Called by the engine only."""
        if self._error is not None:
            return generator.throw(self._error)
        return generator.send(self._result)

    def complete(self, result: object) -> None:
        """Called by the engine only."""
        self._settle(result, None)

    def fail(self, error: BaseException) -> None:
        """Called by the engine only."""
        self._settle(None, error)

    def _settle(self, result: object, error: BaseException | None) -> None:
        if self.is_complete:
            return
        self.is_complete = True
        self._result, self._error = result, error
        parents, self._parents = self._parents, []
        for parent in parents:
            parent.child_settled(self)


class CompositeTask(Task[T]):
    """A task made of tasks."""

    __slots__ = ("_tasks",)

    def __init__(self, tasks: Sequence[Task[Any]]) -> None:
        super().__init__()
        tasks = list(tasks)
        for task in tasks:
            if not isinstance(task, Task):
                message = f"expected tasks, but got {type(task).__name__}: {task!r:.100}"
                raise TypeError(message)
        if len({id(task) for task in tasks}) != len(tasks):
            message = "expected each task once, but one is given twice"
            raise ValueError(message)
        self._tasks = tasks
        # A task settles its composites by calling them: too deep a nest would overflow the owner's stack.
        self._height = 1 + max((task._height for task in tasks), default=0)
        what = "the nesting of when_all and when_any"
        limits.check(what, self._height, limits.NESTED_TASKS_MAX, "nest less deeply")

    def get_tasks(self) -> list[Task[Any]]:
        """The tasks this one is made of, in the order given."""
        return list(self._tasks)

    def _adopt(self) -> None:
        for task in self._tasks:
            if task.is_complete:
                self.child_settled(task)
            else:
                task._parents.append(self)

    def child_settled(self, task: Task[Any]) -> None:
        """Called by a task of this one, once."""
        raise NotImplementedError


class WhenAllTask(CompositeTask[list[T]]):
    """Complete when all are; then the results in order, or the first failure in order of completion."""

    __slots__ = ("_first_error", "_left")

    def __init__(self, tasks: Sequence[Task[T]]) -> None:
        super().__init__(tasks)
        self._left = len(self._tasks)
        self._first_error: BaseException | None = None
        if not self._tasks:
            self.complete([])
        self._adopt()

    @property
    def pending_tasks(self) -> int:
        """How many have not completed."""
        return self._left

    def get_completed_tasks(self) -> int:
        """How many have completed."""
        return len(self._tasks) - self._left

    @override
    def child_settled(self, task: Task[Any]) -> None:
        """One less to wait for."""
        self._left -= 1
        if task.is_failed and self._first_error is None:
            self._first_error = task.get_exception()
        if self._left:
            return
        if self._first_error is not None:
            self.fail(self._first_error)
        else:
            self.complete([child._result for child in self._tasks])


class WhenAnyTask(CompositeTask[Task[Any]]):
    """Complete when one is; its result is that task. The others go on."""

    __slots__ = ()

    def __init__(self, tasks: Sequence[Task[Any]]) -> None:
        super().__init__(tasks)
        if not self._tasks:
            message = "expected at least one task, but got none: no one would ever win"
            raise ValueError(message)
        self._adopt()

    @override
    def child_settled(self, task: Task[Any]) -> None:
        """The first one wins."""
        # Settled once by the first; a loser that ends later finds nothing to do.
        self.complete(task)


def when_all(tasks: Sequence[Task[T]]) -> WhenAllTask[T]:
    """Waits for all tasks, then returns their results in order, or raises the first failure.

    Args:
        tasks: Tasks, each at most once. An empty sequence completes at once with `[]`.

    Raises:
        ValueError: A task is given twice.

    """
    return WhenAllTask(tasks)


def when_any(tasks: Sequence[Task[Any]]) -> WhenAnyTask:
    """Waits for the first task to complete and returns that task. The others are not cancelled.

    Args:
        tasks: At least one task, each at most once.

    Raises:
        ValueError: There is no task, or one is given twice.

    """
    return WhenAnyTask(tasks)
