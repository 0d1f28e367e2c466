"""Kafka's codes to the engine's exceptions: what is forbidden names the right that is missing."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from engine.errors import ConfigurationError, LogUnavailableFault
from engine.kafka.errors import fault_of, is_final
from engine.kafka.reader import message_is_good

RIGHTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ("Read, Write, Describe and DescribeConfigs on the app's topics",),
    KafkaError.GROUP_AUTHORIZATION_FAILED: ("Read on the app's groups",),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: ("DescribeConfigs on the cluster",),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: ("Write and Describe on the transactional ids",),
    KafkaError.SASL_AUTHENTICATION_FAILED: ("mend the credentials", "--config"),
    KafkaError._AUTHENTICATION: ("mend the credentials", "--config"),
}


@pytest.mark.parametrize("code", RIGHTS, ids=lambda code: KafkaError(code).name())
def test_what_kafka_forbids_is_answered_with_the_right_that_would_allow_it(code: int) -> None:
    fault = fault_of(KafkaException(KafkaError(code, "no")), "fence partition 3")
    assert isinstance(fault, ConfigurationError)
    assert str(fault).startswith(f"fence partition 3: {KafkaError(code).name()}: no; ")
    for text in RIGHTS[code]:
        assert text in str(fault)


def test_every_code_of_a_lacking_right_is_judged_as_one() -> None:
    every = [value for name, value in vars(KafkaError).items() if name.endswith("AUTHORIZATION_FAILED")]
    unjudged = {code for code in every if isinstance(fault_of(KafkaError(code), "x"), LogUnavailableFault)}
    # Delegation tokens are nothing that the engine asks for.
    assert unjudged <= {getattr(KafkaError, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", 0)}


def test_a_client_that_librdkafka_gave_up_is_known_by_its_code_alone() -> None:
    given_up = KafkaError(KafkaError._FATAL, "Static consumer fenced by other consumer")
    # This is the trap: of a consumer's error it says no.
    assert not given_up.fatal()
    assert is_final(given_up)
    assert is_final(KafkaError(KafkaError._FENCED, "fenced", fatal=True))
    assert not is_final(KafkaError(KafkaError._TRANSPORT, "away"))


class Told:
    """What a consumer hands over in place of a record."""

    def __init__(self, code: int) -> None:
        self._code = code

    def error(self) -> KafkaError:
        return KafkaError(self._code, "told")

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0


def test_a_reader_that_was_given_up_ends_and_a_passing_error_is_passed_over() -> None:
    assert not message_is_good(Told(KafkaError._TRANSPORT))
    with pytest.raises(LogUnavailableFault, match="consume t/0"):
        message_is_good(Told(KafkaError._FATAL))
