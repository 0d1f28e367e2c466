"""A workflow whose activity has its worker find a Kafka client lost, once."""

import threading
from pathlib import Path

import engine as wf
from engine.kafka.clients import CLIENTS, Vitals
from engine.kafka.settings import KafkaSettings

app = wf.WorkflowRuntime()


@app.workflow
def lost(ctx: wf.WorkflowContext, marker: str):
    return (yield ctx.call_activity(lose_a_client, input=marker))


@app.activity
def lose_a_client(ctx: wf.WorkflowActivityContext, marker: str) -> str:
    if Path(marker).exists():
        return "in another life"
    Path(marker).touch()
    # As one that knows no broker, which it would never say otherwise again.
    vitals = Vitals("consumer", *_whereabouts())
    vitals.told('{"brokers": {}}')
    CLIENTS._watch(vitals)
    # What it returned could be appended, by the other clients.
    threading.Event().wait()
    return "never"


def _whereabouts() -> tuple[KafkaSettings, str]:
    return next((each.settings, each.topic) for each in CLIENTS._vitals)
