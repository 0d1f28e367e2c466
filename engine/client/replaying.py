"""Publishes refused commands to Kafka once more, in transactions that mark their dead letters. One at a time.

Theory of operation
* All replays of an app share one transactional id: a new one fences the one before, and ends what it left.
* Only then the marks are read, past whatever transaction still hides some of them; from then on nobody else
  can add any. So no letter is replayed twice, whoever is killed, and however often it is begun again.
"""

from collections.abc import Sequence
from contextlib import suppress

from confluent_kafka import KafkaException, Producer

from engine.client.deadletters import MARK_KEY, DeadLetterEntry, mark_headers
from engine.client.errors import UnreachableError
from engine.codec.topics import Topics
from engine.kafka.commits import MESSAGE_BYTES_MAX
from engine.kafka.errors import fault_of
from engine.kafka.settings import KafkaSettings


class KafkaReplayer:
    """Implements `Replayer`. One thread."""

    def __init__(self, settings: KafkaSettings, topics: Topics) -> None:
        """Fences whoever else replays. Raises UnreachableError."""
        self._timeout_s = settings.request_timeout_ms / 1000
        self._topics = topics
        self._producer = Producer(
            settings.client(
                transactional_id=f"{settings.namespace}.{settings.app}-replay",
                enable_idempotence=True,
                acks="all",
                transaction_timeout_ms=settings.transaction_timeout_ms,
                linger_ms=0,
                message_max_bytes=MESSAGE_BYTES_MAX,
            )
        )
        try:
            self._producer.init_transactions(self._timeout_s)
        except KafkaException as problem:
            raise UnreachableError(str(fault_of(problem, "begin a replay"))) from problem

    def replay(self, letters: Sequence[DeadLetterEntry]) -> int:
        """See the port."""
        try:
            self._producer.begin_transaction()
            for letter in letters:
                self._producer.produce(self._topics.commands, letter.value, letter.key)
                self._producer.produce(
                    self._topics.deadletter,
                    None,
                    MARK_KEY,
                    letter.partition,
                    headers=list(mark_headers(letter.offset)),
                )
            self._producer.commit_transaction(self._timeout_s)
        except KafkaException as problem:
            raise UnreachableError(f"{fault_of(problem, 'replay')}; {_REMEDY}") from problem
        return len(letters)

    def close(self) -> None:
        """See the port. What is open is ended, so that it holds nobody up."""
        with suppress(KafkaException):
            self._producer.abort_transaction(self._timeout_s)


_REMEDY = "whether the last of it was replayed is on record: replay again, and what was is left out"
