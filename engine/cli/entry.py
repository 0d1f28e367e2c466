"""Where `engine` begins: before the half second of imports, so that Ctrl-C ends it quietly from the start."""

from typing import NoReturn

# As click has it for the rest of the time.
INTERRUPTED_EXIT = 1


def main() -> NoReturn:
    """The entry point of `engine`."""
    try:
        from engine.cli.main import main as run  # noqa: PLC0415 -- what takes the time
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED_EXIT) from None
    run()
