"""Fixtures for every folder of tests."""

from __future__ import annotations

import pytest

from tests.kafka_fixture import bootstrap_servers, kafka_distribution, pytest_collection_finish

__all__ = ["bootstrap_servers", "kafka_distribution", "pytest_collection_finish"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "chaos: kills brokers and owners of a three-broker Kafka; takes minutes"
    )
