"""Kafka's codes to what the engine does next. The one place where a code is judged."""

from confluent_kafka import KafkaError, KafkaException

from engine.errors import ConfigurationError, EngineError, FencedFault, LogDamagedFault, LogUnavailableFault

FENCED_CODES = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.FENCED_INSTANCE_ID,
    }
)
DAMAGED_CODES = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.INCONSISTENT_TOPIC_ID,
    }
)
# A change of leaders: the same question has its answer in a moment.
PASSING_CODES = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
_CREDENTIALS = "mend the credentials in the properties file of --config (or ENGINE_CONFIG)"
# What Kafka refuses for good, and what would make it accept.
REMEDIES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (
        "grant its user Read, Write, Describe and DescribeConfigs on the app's topics, "
        "Delete on its commands and inbox, and Create to make them"
    ),
    KafkaError.GROUP_AUTHORIZATION_FAILED: "grant its user Read on the app's groups, <namespace>.<app>.*",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (
        "grant its user DescribeConfigs on the cluster, Create to make topics, "
        "and on brokers before Kafka 3 IdempotentWrite"
    ),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        "grant its user Write and Describe on the transactional ids <namespace>.<app>-*"
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "set --session-timeout-ms (or ENGINE_SESSION_TIMEOUT_MS) within the brokers' "
        "group.min.session.timeout.ms and group.max.session.timeout.ms: 6,000 to 1,800,000 unless changed"
    ),
    KafkaError.SASL_AUTHENTICATION_FAILED: _CREDENTIALS,
    KafkaError._AUTHENTICATION: _CREDENTIALS,
}


def error_of(problem: KafkaException | KafkaError) -> KafkaError:
    """The error inside an exception."""
    if isinstance(problem, KafkaError):
        return problem
    error = problem.args[0]
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(problem))


def is_final(error: KafkaError) -> bool:
    """Whether librdkafka has given up the client that says so: it will never work again."""
    return error.fatal() or error.code() == KafkaError._FATAL


def fault_of(problem: KafkaException | KafkaError, doing: str) -> EngineError:
    """The exception that names what the caller does next."""
    error = error_of(problem)
    text = f"{doing}: {error.name()}: {error.str()}"
    if error.code() in FENCED_CODES:
        return FencedFault(text)
    if error.code() in DAMAGED_CODES:
        return LogDamagedFault(text)
    remedy = REMEDIES.get(error.code())
    if remedy is not None:
        return ConfigurationError(f"{text}; {remedy}")
    return LogUnavailableFault(text)
