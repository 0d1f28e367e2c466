"""A workflow whose activity has its worker find a Kafka client lost, once."""

import threading
from pathlib import Path

from confluent_kafka import Consumer

import engine as wf
from engine.kafka.clients import CLIENTS, Vitals

app = wf.WorkflowRuntime()


@app.workflow
def lost(ctx: wf.WorkflowContext, marker: str):
    return (yield ctx.call_activity(lose_a_client, input=marker))


@app.activity
def lose_a_client(ctx: wf.WorkflowActivityContext, marker: str) -> str:
    if Path(marker).exists():
        return "in another life"
    Path(marker).touch()
    watched = next(each for each in CLIENTS._watched.values() if isinstance(each.client, Consumer))
    # As where librdkafka knows no broker, which it would never say otherwise again.
    watched.vitals = Vitals()
    watched.vitals.told('{"type": "consumer", "brokers": {}}')
    # What it returned could be appended, by the other clients.
    threading.Event().wait()
    return "never"
