"""How the workflow's own exceptions become values. Nothing that an exception is or says may raise here."""

import traceback

from engine.model.failure import Failure, failure_of

_ENGINE = __file__.removesuffix("core/failing.py")
_OURS = (f"{_ENGINE}core", f"{_ENGINE}node")


def failure_from(error: BaseException) -> Failure:
    """An exception as a value, without the engine's own frames."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_OURS)]
    stack = "".join(traceback.format_list(frames))
    return failure_of(type(error).__name__, _text_of(error), stack)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 -- even an error's text is the user's code
        return f"an error whose text can't be had: its __str__ raised {type(problem).__name__}"
