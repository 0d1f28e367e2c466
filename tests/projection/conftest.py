"""A log made by hand, and a projection of it that is waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from engine.projection import AnyReader, MergedReader, Projection, Reader
from engine.projection import projection as projection_module
from tests.projection.made_log import PARTITIONS, MadeLog

WAIT_S = 20


@pytest.fixture
def log() -> MadeLog:
    return MadeLog()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(projection_module, "PAUSE_S", 0.01)


@contextmanager
def running(log, path: Path, **options) -> Iterator[Projection]:
    projection = Projection(log, path, **options)
    projection.start()
    try:
        yield projection
    finally:
        projection.close()
        assert projection.failure is None


def caught_up(projection: Projection, log) -> Reader:
    """A reader that sees all that is committed now."""
    projection.reached(log.ends()).result(WAIT_S)
    return projection.open_reader()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "read" / "model.sqlite3"


@pytest.fixture(params=["one file", "a file for each partition"])
def shown(request: pytest.FixtureRequest, log: MadeLog, path: Path) -> Iterator[Callable[[], AnyReader]]:
    """Called, it gives a reader that sees all that was committed."""
    shares = [range(PARTITIONS)] if request.param == "one file" else [[n] for n in range(PARTITIONS)]
    with ExitStack() as stack:
        parts = [
            stack.enter_context(running(log, path.with_name(f"{share[0]}.sqlite3"), partitions=share))
            for share in shares
        ]

        def look() -> AnyReader:
            found = [caught_up(part, log) for part in parts]
            whole = found[0] if len(found) == 1 else MergedReader(dict(enumerate(found)))
            stack.callback(whole.close)
            return whole

        yield look
