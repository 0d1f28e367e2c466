"""How many events of history a second the projection takes in, on a log in a directory.

    python -m bench.projection [--runs 20000]

Each run is what `examples/task_chaining` leaves: started, three activities called and completed, completed.
"""

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path

from engine.client.embedded import EmbeddedConnection
from engine.codec.avro import encode_event
from engine.codec.topics import history_key, partition_of
from engine.embedded import EmbeddedLog
from engine.model import events as ev
from engine.model.failure import Payload
from engine.partition.ports import Claim, Commit
from engine.projection import Projection

PARTITIONS = 4
RUNS_PER_COMMIT = 50
PAYLOAD = Payload(b'{"item":"tea","quantity":1}')


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as directory:
        events = write(Path(directory), runs)
        with closing(EmbeddedConnection(Path(directory))) as connection:
            projection = Projection(connection, Path(directory) / "read.sqlite3")
            began, cpu_began = time.perf_counter(), time.process_time()
            projection.start()
            projection.reached(connection.ends()).result()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
            projection.close()
    print(
        f"{events:,} events of {runs:,} runs in {seconds:.2f} s: {events / seconds:,.0f} events/s; "
        f"{events / cpu:,.0f} per second of CPU"
    )


def write(directory: Path, runs: int) -> int:
    log = EmbeddedLog(directory, partitions=PARTITIONS)
    claims = {number: log.claim(number) for number in range(PARTITIONS)}
    waiting: dict[int, list[tuple[bytes, bytes | None]]] = {number: [] for number in claims}
    events = 0
    for number in range(runs):
        instance_id = f"order-{number}"
        records = history_of(instance_id, f"run-{number}")
        partition = partition_of(instance_id, PARTITIONS)
        waiting[partition] += records
        events += len(records)
        if len(waiting[partition]) >= RUNS_PER_COMMIT * len(records):
            commit(log, claims[partition], waiting[partition])
            waiting[partition] = []
    for partition, records in waiting.items():
        commit(log, claims[partition], records)
    log.close()
    return events


def history_of(instance_id: str, run_id: str) -> list[tuple[bytes, bytes | None]]:
    facts: list[ev.Event] = [ev.InstanceStarted(workflow="chain", input=PAYLOAD)]
    for step in range(3):
        facts.append(ev.ActivityScheduled(name="step", call_id=b"c" * 16, input=PAYLOAD))
        facts.append(ev.ActivityCompleted(scheduled=2 + 2 * step, attempt=1, result=PAYLOAD))
    facts.append(ev.InstanceCompleted(output=PAYLOAD))
    return [
        (
            history_key(instance_id, run_id, sequence),
            encode_event(
                instance_id,
                ev.Recorded(
                    run_id=run_id,
                    sequence=sequence,
                    recorded_at_ms=1_700_000_000_000 + sequence,
                    inbox_offset=sequence,
                    event=fact,
                ),
            ),
        )
        for sequence, fact in enumerate(facts, 1)
    ]


def commit(log: EmbeddedLog, claim: Claim, records: list[tuple[bytes, bytes | None]]) -> None:
    log.begin_commit(claim, Commit(records, b"checkpoint"))
    while not log.commit_results():
        log.poll(10)


if __name__ == "__main__":
    main()
