"""An app: its workflows and activities, registered by decorators or calls. Dapr's `WorkflowRuntime`."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from engine.core.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])


class WorkflowRuntime:
    """Holds what an app offers. A worker is pointed at it: `engine worker --app orders package.module:app`.

    Everything must be registered before the worker starts.
    """

    def __init__(self) -> None:
        self.registry = Registry()

    def register_workflow(self, fn: Callable[..., Any], *, name: str | None = None) -> None:
        """Offers a workflow function under `name`, by default its own.

        Raises:
            ValueError: The name is taken, empty or too long.

        """
        self.registry.add_workflow(fn, name)

    def register_activity(
        self, fn: Callable[..., Any], *, name: str | None = None, executor: str = "thread"
    ) -> None:
        """Offers an activity function, sync or async, under `name`, by default its own.

        Args:
            fn: Called as `fn(context, input)`, or `fn(context)`.
            name: What workflows call it by.
            executor: "thread", or "process" for CPU-bound functions, which on a thread slow all workflows.
            Each attempt then has a process of its own; the function must stand at the top of a module.

        Raises:
            ValueError: The name is taken, empty or too long, or the executor unknown.

        """
        self.registry.add_activity(fn, name, executor)

    @overload
    def workflow(self, fn: F, /) -> F: ...

    @overload
    def workflow(self, fn: None = None, /, *, name: str | None = None) -> Callable[[F], F]: ...

    def workflow(self, fn: F | None = None, /, *, name: str | None = None) -> F | Callable[[F], F]:
        """Decorator for a workflow: `@app.workflow` or `@app.workflow(name="order")`."""

        def register(function: F) -> F:
            self.register_workflow(function, name=name)
            return function

        return register if fn is None else register(fn)

    @overload
    def activity(self, fn: F, /) -> F: ...

    @overload
    def activity(
        self, fn: None = None, /, *, name: str | None = None, executor: str = "thread"
    ) -> Callable[[F], F]: ...

    def activity(
        self, fn: F | None = None, /, *, name: str | None = None, executor: str = "thread"
    ) -> F | Callable[[F], F]:
        """Decorator for an activity.

        `@app.activity` or `@app.activity(name="charge", executor="process")`.
        """

        def register(function: F) -> F:
            self.register_activity(function, name=name, executor=executor)
            return function

        return register if fn is None else register(fn)


def alternate_name(name: str | None = None) -> Callable[[F], F]:
    """Decorator that names a function before it is registered, as Dapr's does."""

    def mark(function: F) -> F:
        function.__dict__["_dapr_alternate_name"] = name or function.__name__
        return function

    return mark
