"""From `package.module:attribute` to an app that can be run. Says what is wrong before any worker starts."""

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from engine.errors import ConfigurationError
from engine.runtime import WorkflowRuntime


def load_app(reference: str) -> WorkflowRuntime:
    """The app that `reference` names, sought from the working directory on. Raises ConfigurationError."""
    module_name, separator, path = reference.partition(":")
    if not (separator and module_name and path):
        message = f"expected an app as package.module:attribute, but got {reference!r}"
        raise ConfigurationError(message)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    app = _attribute(_import(module_name), module_name, path)
    if not isinstance(app, WorkflowRuntime):
        message = (
            f"expected {reference!r} to be a WorkflowRuntime, but it is a {type(app).__name__}; "
            "name the variable that holds WorkflowRuntime()"
        )
        raise ConfigurationError(message)
    if not app.registry.workflows:
        message = (
            f"expected {reference!r} to have workflows, but none is registered; "
            "import the modules that register them before, or in, this one"
        )
        raise ConfigurationError(message)
    return app


def _import(name: str) -> Any:
    here = Path.cwd()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            message = (
                f"expected a module {name!r}, but there is no {error.name!r} in {here} or on Python's path; "
                "change to the directory that holds it, or install it"
            )
            raise ConfigurationError(message) from error
        message = f"expected {name!r} to be imported, but it needs {error.name!r}, which is not installed"
        raise ConfigurationError(message) from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = (
            f"expected {name!r} to be imported, but it raised {type(error).__name__}: {error} "
            f"({place.filename}:{place.lineno})"
        )
        raise ConfigurationError(message) from error


def _attribute(module: Any, module_name: str, path: str) -> Any:
    found = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            apps = sorted(each for each, value in vars(module).items() if isinstance(value, WorkflowRuntime))
            remedy = f"it has {', '.join(apps)}" if apps else "it has no WorkflowRuntime at all"
            message = f"expected {module_name!r} to have {path!r}, but {name!r} is not there; {remedy}"
            raise ConfigurationError(message) from error
    return found
