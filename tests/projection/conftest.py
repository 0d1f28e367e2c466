"""A log made by hand, and a projection of it that is waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.projection import Projection, Reader
from engine.projection import projection as projection_module
from tests.projection.made_log import MadeLog

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


@pytest.fixture
def shown(log: MadeLog, path: Path) -> Iterator[Callable[[], Reader]]:
    """Called, it gives a reader that sees all that was committed."""
    readers = []
    with running(log, path) as projection:

        def look() -> Reader:
            readers.append(caught_up(projection, log))
            return readers[-1]

        yield look
        for reader in readers:
            reader.close()
