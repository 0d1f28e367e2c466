"""Names to functions: what an app offers. Filled by decorators before the worker starts, read-only after."""

import inspect
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
        """Raises ValueError for a name that is taken or can't be one, TypeError for what is no workflow."""
        _check_callable("workflow", function)
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(async_text(name_of(function)))
        name = _checked("workflow", name or name_of(function), self.workflows)
        takes_input, kind, _ = signature_of(function)
        self.workflows[name] = WorkflowDefinition(name, function, takes_input, kind)
        _note(function, name)

    def add_activity(self, function: Callable[..., Any], name: str | None, executor: str) -> None:
        """Raises ValueError for a name that is taken or can't be one, or an unknown executor.

        TypeError for what can be no activity.
        """
        _check_callable("activity", function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            message = f"expected activity {name_of(function)!r} to return its result, but it yields"
            raise TypeError(message)
        if executor not in EXECUTORS:
            message = f"expected executor to be one of {EXECUTORS}, but got {executor!r}"
            raise ValueError(message)
        name = _checked("activity", name or name_of(function), self.activities)
        takes_input, kind, _ = signature_of(function)
        self.activities[name] = ActivityDefinition(name, function, takes_input, kind, executor)
        _note(function, name)


def async_text(name: str) -> str:
    """What is wrong with a workflow that is async, or gives something that is."""
    return f"expected workflow {name!r} to be a generator or plain function, but it is async"


def _note(function: Callable[..., Any], name: str) -> None:
    # A function in C has nowhere to keep it, and is called by its name.
    attributes = getattr(function, "__dict__", None)
    if isinstance(attributes, dict):
        attributes["_engine_name"] = name


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


def _check_callable(what: str, function: Callable[..., Any]) -> None:
    """Raises TypeError where the engine could not call it, with a context, or an input besides."""
    if not callable(function):
        message = f"expected a function as {what}, but got {type(function).__name__}: {function!r:.100}"
        raise TypeError(message)
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # of some functions in C nothing is known
    for given in (1, 2):
        try:
            signature.bind(*range(given))
        except TypeError:
            continue
        return
    message = (
        f"expected {what} {name_of(function)!r} to be called with a context, and an input if it takes one, "
        f"but it is {name_of(function)}{signature}"
    )
    raise TypeError(message)


def _checked(what: str, name: str, taken: dict[str, Any]) -> str:
    problem = limits.invalid_name(f"{what} name", name)
    if problem is not None:
        raise ValueError(problem)
    if name in taken:
        message = f"expected a new {what} name, but {name!r} is registered already"
        raise ValueError(message)
    return name
