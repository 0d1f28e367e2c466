"""The same places as for the clients' tests."""

from __future__ import annotations

from tests.client.conftest import directory_place, kafka_place, place

__all__ = ["directory_place", "kafka_place", "place"]
