"""Log lines say of which instance, run and record they are, and never what is in them."""

from __future__ import annotations

import json
import logging

import pytest

from engine.cli.logs import JsonFormatter
from engine.node.telling import LINES_MAX, tell
from engine.partition.notices import Notice
from tests.integration.harness import AppUnderTest
from tests.metrics.running import Running

SECRET = "canary-7f3a9c"


def fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [json.loads(JsonFormatter().format(record)) for record in caplog.records]


def test_a_dead_letter_is_told_with_its_instance_and_its_place(
    worker: Running, caplog: pytest.LogCaptureFixture
) -> None:
    worker.publish("TerminateInstance", "nobody")
    worker.wait(1, "engine_dead_letters_total")
    worker.wait(1, "engine_commits_total", outcome="committed")
    worker.start("doubled", "after")
    worker.wait(1, "dapr_runtime_workflow_execution_count", workflow_name="doubled")
    (line,) = [each for each in fields(caplog) if "dead letter" in str(each["message"])]
    assert line["level"] == "warning"
    assert (line["reason"], line["instance_id"], line["offset"]) == ("InstanceNotFound", "nobody", 0)
    assert line["partition"] in (0, 1)


def test_a_stall_is_told_with_its_run(caplog: pytest.LogCaptureFixture) -> None:
    tell(
        [
            Notice(
                what="instance stalled",
                reason="NonDeterminism",
                instance_id="a",
                run_id="r",
                partition=2,
                offset=9,
            )
        ]
    )
    (line,) = fields(caplog)
    assert line["message"] == "instance stalled: NonDeterminism"
    assert (line["instance_id"], line["run_id"], line["partition"], line["offset"]) == ("a", "r", 2, 9)


def test_a_flood_of_refusals_is_not_one_of_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    notice = Notice(what="dead letter", reason="Malformed", instance_id="a", partition=0, offset=1)
    tell([notice] * (LINES_MAX + 7))
    assert len(caplog.records) == LINES_MAX + 1
    assert "7 more" in caplog.records[-1].getMessage()


def test_no_payload_is_in_any_log_line(worker: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    worker.start("doubled", "input", SECRET)
    worker.start("failing", "failure", SECRET)
    worker.start("asks", "event")
    worker.publish("RaiseEvent", "event", name="answer", data=SECRET)
    worker.publish("RaiseEvent", "nobody", name="answer", data=SECRET)
    worker.publish_raw("broken", f'{{"type": "{SECRET}'.encode())
    worker.publish_raw("unknown", json.dumps({"type": SECRET, "instance_id": "x"}).encode())
    worker.wait(4 - 1, "engine_dead_letters_total")
    worker.wait(2, "dapr_runtime_workflow_execution_count", status="success")
    worker.wait(1, "dapr_runtime_workflow_execution_count", status="failed")
    text = "\n".join(JsonFormatter().format(record) for record in caplog.records)
    assert "dead letter" in text
    assert SECRET not in text
    assert SECRET not in worker.get("/metrics")[1]


def test_no_payload_is_in_the_log_of_a_worker_on_kafka(subject: AppUnderTest) -> None:
    worker = subject.worker(log_level="debug")
    worker.wait_ready()
    subject.start("chain", SECRET)
    subject.produce(f"not a command {SECRET}".encode(), key=b"broken")
    subject.raise_event("nobody", "add", SECRET)
    worker.wait_log("dead letter", 2)
    assert worker.stop() < 10
    assert SECRET not in worker.text
    told = [record for record in worker.records if "partition" in record and "offset" in record]
    assert {"dead letter", "restored", "released"} <= {
        word
        for record in told
        for word in ("dead letter", "restored", "released")
        if word in record["message"]
    }
