"""Where `engine` begins: before the half second of imports, so that Ctrl-C ends it quietly from the start.

What it says must come out, whatever the terminal can show; where it can't be written, that is said in a line.
"""

import codecs
import io
import os
import sys
from typing import NoReturn

# As click has it for the rest of the time.
INTERRUPTED_EXIT = 1
UNWRITTEN_EXIT = 1
ESCAPED = "engine.escaped"


def main() -> NoReturn:
    """The entry point of `engine`."""
    show_what_can_be_shown()
    try:
        from engine.cli.main import main as run  # noqa: PLC0415 -- what takes the time

        run()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED_EXIT) from None
    except OSError as problem:
        if problem.filename is not None:
            raise
        _tell_unwritten(problem)


def show_what_can_be_shown() -> None:
    """A character that the terminal's encoding has not is escaped, as JSON would."""
    codecs.register_error(ESCAPED, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=ESCAPED)


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escaped = "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    return escaped, error.end


def _tell_unwritten(problem: OSError) -> NoReturn:
    # The interpreter flushes once more as it ends, and would say it again in its own words.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(f"Error: expected to write the output, but: {problem.strerror or problem}", file=sys.stderr)
    raise SystemExit(UNWRITTEN_EXIT)
