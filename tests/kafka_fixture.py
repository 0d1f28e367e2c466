"""A real Kafka for whoever asks: one broker per session, or the one that ENGINE_TEST_BOOTSTRAP names.

A test that asks for it and cannot have it fails with the reason: were it skipped, the most important tests
would be the first to fall silent. What must be fetched is fetched after collection, outside every timeout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ops.kafka.cluster import KafkaCluster
from ops.kafka.distribution import Distribution
from ops.kafka.errors import KafkaUnavailable
from ops.kafka.locking import Say, say_on_stderr
from ops.kafka.prepare import prepare

BOOTSTRAP_VARIABLE = "ENGINE_TEST_BOOTSTRAP"
PREPARED = pytest.StashKey[Distribution | KafkaUnavailable]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch and prepare now, if any collected test will start brokers."""
    if session.config.option.collectonly:
        return
    needing = (
        {"kafka_distribution"}
        if BOOTSTRAP_VARIABLE in os.environ
        else {"kafka_distribution", "bootstrap_servers"}
    )
    if any(needing.intersection(getattr(item, "fixturenames", ())) for item in session.items):
        _prepared(session.config)


@pytest.fixture(scope="session")
def kafka_distribution(pytestconfig: pytest.Config) -> Distribution:
    """For tests that start their own `KafkaCluster`: ask for this, so that nothing is fetched in the test."""
    prepared = _prepared(pytestconfig)
    if isinstance(prepared, KafkaUnavailable):
        pytest.fail(f"no Kafka: {prepared}", pytrace=False)
    return prepared


@pytest.fixture(scope="session")
def bootstrap_servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The session's broker. Tests share it: give topics, groups and transactional ids new names."""
    external = os.environ.get(BOOTSTRAP_VARIABLE)
    if external:
        yield external
        return
    request.getfixturevalue("kafka_distribution")
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka"), say=_say(request.config))
    try:
        cluster.start()
    except KafkaUnavailable as reason:
        pytest.fail(f"no Kafka: {reason}", pytrace=False)
    try:
        yield cluster.bootstrap_servers
    finally:
        cluster.kill()


def _prepared(config: pytest.Config) -> Distribution | KafkaUnavailable:
    """Tried once per session: a network that is not there would be waited for by every single test."""
    if PREPARED not in config.stash:
        try:
            config.stash[PREPARED] = prepare(_say(config))
        except KafkaUnavailable as reason:
            config.stash[PREPARED] = reason
    return config.stash[PREPARED]


def _say(config: pytest.Config) -> Say:
    """Through pytest's own terminal, for stderr is captured."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return say_on_stderr if reporter is None else reporter.write_line
