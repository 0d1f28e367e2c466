"""Names to functions: what an app offers. Filled by decorators before the worker starts, read-only after."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from engine.core import limits
from engine.core.values import signature_of

F = TypeVar("F", bound=Callable[..., Any])
EXECUTORS = ("thread", "process")


class WorkflowDefinition(msgspec.Struct, frozen=True):
    """A workflow function and how to feed it."""

    name: str
    function: Callable[..., Any]
    takes_input: bool
    input_kind: Any


class ActivityDefinition(msgspec.Struct, frozen=True):
    """An activity function and where it runs."""

    name: str
    function: Callable[..., Any]
    takes_input: bool
    input_kind: Any
    executor: str


class Registry:
    """The workflows and activities of one app."""

    def __init__(self) -> None:
        self.app_id = ""
        self.workflows: dict[str, WorkflowDefinition] = {}
        self.activities: dict[str, ActivityDefinition] = {}

    def add_workflow(self, function: Callable[..., Any], name: str | None) -> None:
        """Raises ValueError for a name that is taken or can't be one."""
        name = _checked("workflow", name or name_of(function), self.workflows)
        takes_input, kind, _ = signature_of(function)
        self.workflows[name] = WorkflowDefinition(name, function, takes_input, kind)
        function.__dict__["_engine_name"] = name

    def add_activity(self, function: Callable[..., Any], name: str | None, executor: str) -> None:
        """Raises ValueError for a name that is taken or can't be one, or an unknown executor."""
        if executor not in EXECUTORS:
            message = f"expected executor to be one of {EXECUTORS}, but got {executor!r}"
            raise ValueError(message)
        name = _checked("activity", name or name_of(function), self.activities)
        takes_input, kind, _ = signature_of(function)
        self.activities[name] = ActivityDefinition(name, function, takes_input, kind, executor)
        function.__dict__["_engine_name"] = name


def name_of(function: Callable[..., Any] | str) -> str:
    """The name that a function is called by: the registered one, or its own."""
    if isinstance(function, str):
        return function
    given = getattr(function, "_engine_name", None) or getattr(function, "_dapr_alternate_name", None)
    if given is not None:
        return str(given)
    if not callable(function):
        message = f"expected a function or a name, but got {type(function).__name__}: {function!r:.100}"
        raise TypeError(message)
    return str(getattr(function, "__name__", type(function).__name__))


def _checked(what: str, name: str, taken: dict[str, Any]) -> str:
    problem = limits.invalid_name(f"{what} name", name)
    if problem is not None:
        raise ValueError(problem)
    if name in taken:
        message = f"expected a new {what} name, but {name!r} is registered already"
        raise ValueError(message)
    return name
