"""Fixtures for every folder of tests."""

from __future__ import annotations

from tests.kafka_fixture import bootstrap_servers, kafka_distribution, pytest_collection_finish

__all__ = ["bootstrap_servers", "kafka_distribution", "pytest_collection_finish"]
