"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import AppUnderTest


@pytest.fixture
def subject(bootstrap_servers: str, tmp_path: Path) -> Iterator[AppUnderTest]:
    """An app of two partitions; whatever it started is gone afterwards."""
    app = AppUnderTest(bootstrap_servers, tmp_path)
    yield app
    app.close()
