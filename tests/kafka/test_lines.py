"""Lines of librdkafka: told once in a while, and no louder than they matter."""

from __future__ import annotations

import logging
import subprocess
import sys
import uuid

import pytest

from engine.kafka import lines
from engine.kafka.commits import CommitTopics, Transactions
from engine.kafka.lines import LINES
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin
from engine.partition.ports import Commit, Fenced

REFUSED = (
    "[thrd:a:{0}/bootstrap]: a:{0}/bootstrap: Connect to ipv4#a:{0} failed: Connection refused (after {0}ms)"
)
FENCED = "Fatal error: Broker: Producer has been fenced by a newer producer instance"


@pytest.fixture(autouse=True)
def _anew(monkeypatch) -> None:
    (sieve,) = LINES.filters
    monkeypatch.setattr(sieve, "_told_at", {})


def say(level: int, facility: str, text: str) -> None:
    """As confluent-kafka does."""
    LINES.log(level, "%s [%s] %s", facility, f"client#{len(text)}", text)


def test_a_broker_that_is_away_is_told_of_once_in_a_while(caplog, monkeypatch) -> None:
    for port in range(50):
        say(logging.ERROR, "FAIL", REFUSED.format(port))
    say(logging.ERROR, "FAIL", "[thrd:a:1/1]: a:1/1: SASL authentication error: no such user")
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    monkeypatch.setattr(lines, "REPEAT_SECONDS", 0.0)
    say(logging.ERROR, "FAIL", REFUSED.format(1))
    assert len(caplog.records) == 3


def test_as_many_kinds_of_lines_as_there_may_be_are_remembered(caplog) -> None:
    (sieve,) = LINES.filters
    for number in range(lines.KINDS_MAX * 2):
        say(logging.ERROR, "FAIL", f"kind {'x' * number}")
    assert len(caplog.records) == lines.KINDS_MAX * 2
    assert len(sieve._told_at) <= lines.KINDS_MAX


@pytest.mark.parametrize("facility", ["FATAL", "TXNERR"])
def test_a_producer_that_a_claim_fenced_is_no_critical_error(caplog, facility: str) -> None:
    caplog.set_level(logging.INFO)
    say(logging.CRITICAL, facility, FENCED)
    say(logging.CRITICAL, facility, "Fatal error: out of memory")
    assert [record.levelname for record in caplog.records] == ["INFO", "CRITICAL"]


def test_the_claims_of_a_real_partition_are_no_critical_errors(bootstrap_servers: str, caplog) -> None:
    caplog.set_level(logging.INFO)
    app = f"lines-{uuid.uuid4().hex[:8]}"
    settings = KafkaSettings(bootstrap_servers=bootstrap_servers, app=app, partitions=1, is_dev=True)
    TopicAdmin(settings).apply()
    topics = CommitTopics(f"wf.{app}.history", f"wf.{app}.deadletter", f"wf.{app}.replies", 1)
    earlier, later = (Transactions(settings, topics, 0, app) for _ in range(2))
    earlier.fence()
    later.fence()

    commit = Commit(records=(), checkpoint=b"checkpoint")
    outcome = earlier.begin(commit) or earlier.finish()
    assert isinstance(outcome, Fenced)
    told = [each for each in caplog.records if each.args and each.args[0] in ("FATAL", "TXNERR")]
    assert {each.levelname for each in told} == {"INFO"}


def test_a_program_that_set_up_no_logging_has_none_of_them_on_its_stderr() -> None:
    # In a process of its own: pytest's handlers would hide the one that Python has for records without any.
    code = (
        "import engine.client, engine.kafka.lines as l; l.LINES.error('%s [%s] %s', 'FAIL', 'c', 'refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
