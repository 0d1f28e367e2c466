"""What a client's statistics say of whether it can ever hear from Kafka again."""

from __future__ import annotations

import json

import pytest

from engine.kafka.clients import RESTS_US, Vitals
from engine.kafka.settings import KafkaSettings

SETTINGS = KafkaSettings(bootstrap_servers="localhost:1", app="a")
LONG, SHORT = RESTS_US, RESTS_US - 1


def broker(state: str, age_us: int = LONG, source: str = "learned") -> dict[str, object]:
    return {"state": state, "stateage": age_us, "source": source}


def fetching(state: str) -> dict[str, object]:
    return {"inbox": {"partitions": {"-1": {"fetch_state": "none"}, "0": {"fetch_state": state}}}}


COORDINATOR = broker("TRY_CONNECT", source="logical")
RESTING = broker("INIT", source="logical")


@pytest.mark.parametrize(
    ("brokers", "topics", "is_deaf"),
    [
        pytest.param([], {}, True, id="knows none"),
        pytest.param([COORDINATOR], {}, True, id="has nobody who could be its coordinator"),
        pytest.param([broker("UP")], {}, False, id="is connected"),
        pytest.param([broker("UP", source="logical"), broker("INIT")], {}, False, id="is a member"),
        pytest.param([broker("DOWN"), broker("CONNECT", SHORT)], fetching("active"), False, id="tries"),
        pytest.param([broker("INIT", SHORT)], fetching("active"), False, id="may be about to try"),
        pytest.param([broker("INIT")], fetching("active"), True, id="reads, and tries nobody"),
        pytest.param([broker("INIT"), COORDINATOR], {}, True, id="wants a coordinator, and tries nobody"),
        pytest.param([broker("INIT")], {}, False, id="has nothing to do"),
        pytest.param([broker("INIT"), RESTING], fetching("none"), False, id="has no partition"),
    ],
)
def test_a_client_is_deaf_that_has_nobody_to_ask(
    brokers: list[object], topics: dict[str, object], is_deaf: bool
) -> None:
    vitals = Vitals("consumer", SETTINGS, "inbox")
    statistics = {"brokers": {str(k): each for k, each in enumerate(brokers)}, "topics": topics}
    vitals.told(json.dumps(statistics))
    assert vitals.is_deaf is is_deaf


def test_statistics_of_another_form_say_nothing() -> None:
    vitals = Vitals("consumer", SETTINGS, "inbox")
    for statistics in ("{}", "[", '{"brokers": {"1": {}}}'):
        vitals.told(statistics)
        assert not vitals.is_deaf
