"""Which code an app is: a digest of its sources. What a run stalled for is tried again when they change."""

import inspect
import sys
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from engine.core.registry import Registry

DIGEST_BYTES = 8


def build_of(registry: Registry) -> str:
    """The digest of the app's own modules: those beside, or below, a module that registers something.

    Empty where there are no sources to be found, as for an app typed into a shell.
    """
    functions = [each.function for each in registry.workflows.values()]
    functions += [each.function for each in registry.activities.values()]
    homes = {Path(file).parent for file in map(_source_of, functions) if file is not None}
    files = {file for module in list(sys.modules.values()) if (file := _file_of(module)) is not None}
    ours = sorted(file for file in files if any(home in file.parents for home in homes))
    if not ours:
        return ""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for file in ours:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _source_of(function: object) -> str | None:
    try:
        return inspect.getsourcefile(function)  # type: ignore[arg-type]  # whatever it is, or TypeError
    except TypeError:
        return None


def _file_of(module: ModuleType) -> Path | None:
    name = getattr(module, "__file__", None)
    if not isinstance(name, str) or not name.endswith(".py") or "site-packages" in name:
        return None
    file = Path(name)
    return file if file.is_file() else None
