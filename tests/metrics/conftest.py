"""A worker in this process, on a directory, with its endpoint; and what is read from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import subject
from tests.metrics.running import Running, running

__all__ = ["subject", "worker"]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Running]:
    """Ready, and idle."""
    with running(tmp_path) as found:
        yield found
