"""An acknowledgement that does not say where the record is, as of a request that was repeated, is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine.kafka import appender
from engine.kafka.commits import Transactions
from engine.partition.ports import Appended


def acknowledged(offset: int | None) -> Any:
    return SimpleNamespace(
        offset=lambda: offset, timestamp=lambda: (2, 1_000), topic=lambda: "inbox", partition=lambda: 3
    )


@pytest.mark.parametrize(
    ("offset", "outcome"), [(0, Appended(0, 1_000)), (None, Appended(-1, 0)), (-1001, Appended(-1, 0))]
)
def test_an_append_of_unknown_place_has_failed(offset: int | None, outcome: Appended) -> None:
    told: list[Appended] = []
    appender._delivered(told.append, None, acknowledged(offset))
    assert told == [outcome]


@pytest.mark.parametrize(("offset", "place"), [(0, (0, 1_000)), (None, None), (-1001, None)])
def test_a_commit_of_unknown_place_is_in_doubt(offset: int | None, place: tuple[int, int] | None) -> None:
    transactions = Transactions.__new__(Transactions)
    transactions._checkpoint = None
    transactions._delivered(None, acknowledged(offset))
    assert transactions._checkpoint == place
