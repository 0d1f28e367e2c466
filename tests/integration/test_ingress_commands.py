"""What outsiders publish: by any partitioner, JSON or Avro, inside transactions, or no command at all."""

from __future__ import annotations

import io
import json
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer
from fastavro import schemaless_writer

from tests.integration.auditor import MAGIC, load_schemas
from tests.integration.harness import AppUnderTest

KIBIBYTE = 1024
RECORD_BYTES_MAX = 900_000


def _avro(kind: str, **fields: object) -> bytes:
    """A command in single-object encoding, made with fastavro alone."""
    for fingerprint, schema in load_schemas().items():
        if schema["name"] == f"engine.v1.{kind}":
            body = io.BytesIO()
            schemaless_writer(body, schema, fields)
            return MAGIC + fingerprint + body.getvalue()
    raise AssertionError(f"expected a schema {kind}")


def _start(instance_id: str, number: int = 1) -> bytes:
    command = {"type": "StartInstance", "instance_id": instance_id, "workflow": "chain", "input": number}
    return json.dumps(command).encode()


@contextmanager
def _transaction(subject: AppUnderTest) -> Iterator[Producer]:
    """A caller's own transaction, begun; its end is the test's business."""
    producer = Producer(
        {
            "bootstrap.servers": subject.bootstrap_servers,
            "transactional.id": f"caller-{uuid.uuid4().hex}",
            "transaction.timeout.ms": 60_000,
        }
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    yield producer


def test_a_start_arrives_whatever_client_and_form_it_comes_in(subject: AppUnderTest) -> None:
    worker = subject.worker()
    worker.wait_ready()
    for partitioner in ("random", "murmur2_random", "fnv1a"):
        producer = Producer({"bootstrap.servers": subject.bootstrap_servers, "partitioner": partitioner})
        producer.produce(subject.commands, _start(f"json-{partitioner}"), f"json-{partitioner}".encode())
        assert producer.flush(20) == 0
    subject.produce(_start("keyless"))
    subject.produce(
        _start("oddly-keyed"), key=b"\xff\x00 nobody's id", headers={"content-type": "application/json"}
    )
    payload = {"data": b"1", "content_type": ""}
    avro = _avro("StartInstance", instance_id="avro", workflow="chain", input=payload, start_at_ms=None)
    for partition in (0, 1):
        subject.produce(avro.replace(b"\x08avro", b"\x0aavro%d" % partition), partition=partition)
    subject.flush()

    ids = ["json-random", "json-murmur2_random", "json-fnv1a", "keyless", "oddly-keyed", "avro0", "avro1"]
    audit = subject.auditor()
    assert set(audit.read_outcomes(ids).values()) == {4}
    worker.stop()
    audit.read_all()
    audit.check(started=ids)


def test_a_command_in_a_transaction_takes_effect_only_if_that_is_committed(subject: AppUnderTest) -> None:
    worker = subject.worker()
    worker.wait_ready()
    with _transaction(subject) as committed, _transaction(subject) as aborted:
        committed.produce(subject.commands, _start("committed"), partition=0)
        aborted.produce(subject.commands, _start("aborted"), partition=0)
        aborted.flush(20)
        committed.flush(20)
        aborted.abort_transaction(20)
        committed.commit_transaction(20)
    subject.produce(_start("behind"), partition=0)
    subject.flush()

    audit = subject.auditor()
    audit.read_outcomes(["committed", "behind"])
    worker.stop()
    audit.read_all()
    audit.check(started=["committed", "behind"])
    assert {instance_id for instance_id, _ in audit.runs} == {"committed", "behind"}


def test_an_open_transaction_delays_only_what_is_behind_it_on_its_partition(subject: AppUnderTest) -> None:
    worker = subject.worker()
    worker.wait_ready()
    audit = subject.auditor()
    with _transaction(subject) as caller:
        caller.produce(subject.commands, _start("inside"), partition=0)
        caller.flush(20)
        subject.produce(_start("behind"), partition=0)
        subject.flush()
        beside = [f"beside-{number}" for number in range(20)]
        for each in beside:
            subject.produce(_start(each), partition=1)
        subject.flush()

        audit.read_outcomes(beside)
        assert {instance_id for instance_id, _ in audit.runs} == set(beside)
        caller.commit_transaction(20)
    audit.read_outcomes(["inside", "behind"])
    worker.stop()
    audit.read_all()
    audit.check(started=["inside", "behind", *beside])


def test_what_is_no_command_becomes_a_dead_letter_and_holds_nothing_up(subject: AppUnderTest) -> None:
    worker = subject.worker()
    worker.wait_ready()
    good = _avro("StartInstance", instance_id="x", workflow="chain", input=None, start_at_ms=None)
    internal = _avro(
        "CompleteActivity", instance_id="x", run_id="r", scheduled=1, call_id=b"c", attempt=1, result=None
    )
    large = {
        "type": "StartInstance",
        "instance_id": "x",
        "workflow": "chain",
        "input": "a" * (600 * KIBIBYTE),
    }
    poison = {
        b"empty": (b"", b"Malformed"),
        b"text": (b"hello", b"Malformed"),
        b"half-json": (b'{"type": "StartInstance"', b"Malformed"),
        b"no-such-type": (b'{"type": "Explode", "instance_id": "x"}', b"InvalidValue"),
        b"unknown-field": (_start("x")[:-1] + b', "colour": 1}', b"InvalidValue"),
        b"bad-id": (_start("~x"), b"InvalidValue"),
        b"truncated": (good[:-3], b"Malformed"),
        b"only-a-header": (good[:10], b"Malformed"),
        b"unknown-schema": (MAGIC + struct.pack("<Q", 12345) + good[10:], b"UnknownSchema"),
        b"forged-result": (internal, b"NotAllowed"),
        b"too-large": (json.dumps(large).encode(), b"TooLarge"),
        b"enormous-rubbish": (bytes(1_040_000), b"TooLarge"),
        b"unanswerable": (_start("x"), b"InvalidValue"),
    }
    for key, (value, _) in poison.items():
        reply_to = "nobody" if key == b"unanswerable" else f"auditor|{key.decode()}"
        subject.produce(value, key=key, partition=0, headers={"reply-to": reply_to})
    subject.produce(b"", key=b"")
    subject.publish(
        {"type": "StartInstance", "instance_id": "good", "workflow": "chain", "input": 1},
        partition=0,
        headers={"reply-to": "auditor|good"},
    )
    subject.flush()

    audit = subject.auditor()
    audit.read_outcomes(["good"])
    replies = audit.read_replies("auditor", len(poison))
    assert {key: reply["reason"].encode() for key, reply in replies.items()} == {
        key.decode(): reason for key, (_, reason) in poison.items() if key != b"unanswerable"
    } | {"good": b""}
    assert [key for key, reply in replies.items() if reply["is_accepted"]] == ["good"]
    letters = audit.read_dead_letters(len(poison) + 1)
    subject.wait_forwarded()
    worker.stop()
    by_key = {letter.key: letter for letter in letters}
    for key, (value, reason) in poison.items():
        found = by_key[key]
        assert found.headers["reason"] == reason, f"{key!r}: {found.headers}"
        assert found.headers["detail"]
        assert found.headers["source.topic"] == b"commands"
        assert (found.headers["source.partition"], found.headers["source.offset"].isdigit()) == (b"0", True)
        kept = found.value or b""
        assert kept == value or (len(value) > RECORD_BYTES_MAX and value.startswith(kept))
    assert len(letters) == len(poison) + 1


def test_starts_that_were_published_before_any_worker_ran_are_not_lost(subject: AppUnderTest) -> None:
    safe = {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "1048588"}
    subject.create_topics(commands=safe)
    ids = subject.start("chain", 1, count=30)
    worker = subject.worker()
    audit = subject.auditor()
    assert set(audit.read_outcomes(ids).values()) == {4}
    subject.wait_forwarded()
    worker.wait_ready()
    worker.stop()
    audit.read_all()
    audit.check(started=ids)
    assert Path(subject.state_directory()).stat().st_mode & 0o777 == 0o700
