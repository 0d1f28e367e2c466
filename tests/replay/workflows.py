"""The code that the golden histories were recorded with. To change a workflow is to break its instances.

Add new ones instead; what must change is guarded with `ctx.is_patched`, as users would have to.
"""

from datetime import timedelta

import engine as wf

app = wf.WorkflowRuntime()
RETRY = wf.RetryPolicy(
    first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3, backoff_coefficient=2.0
)


@app.activity
def add_one(ctx, value):
    return value + 1


@app.activity
def fail(ctx, text):
    raise ValueError(text)


@app.activity
def undo(ctx, text):
    return f"undone: {text}"


@app.workflow
def chain(ctx, value):
    for _ in range(3):
        value = yield ctx.call_activity(add_one, input=value)
    return value


@app.workflow
def fan_out(ctx, count):
    results = yield wf.when_all([ctx.call_activity(add_one, input=number) for number in range(count)])
    return sum(results)


@app.workflow
def compensation(ctx, text):
    try:
        yield ctx.call_activity(fail, input=text, retry_policy=RETRY)
    except wf.TaskFailedError as error:
        return (yield ctx.call_activity(undo, input=error.details.message))


@app.workflow
def failing(ctx, _value):
    yield ctx.create_timer(timedelta(hours=1))
    raise KeyError("nothing there")


@app.workflow
def timers(ctx, _value):
    hour = ctx.create_timer(timedelta(hours=1))
    winner = yield wf.when_any([hour, ctx.create_timer(timedelta(hours=2))])
    yield ctx.create_timer(ctx.current_utc_datetime - timedelta(days=1))
    return [winner == hour, str(ctx.current_utc_datetime)]


@app.workflow
def approval(ctx, _value):
    try:
        first = yield ctx.wait_for_external_event("approve", timeout=timedelta(hours=1))
    except TimeoutError:
        first = "nobody"
    second = yield ctx.wait_for_external_event("Approve", timeout=timedelta(hours=1))
    return [first, second]


@app.workflow
def family(ctx, names):
    outcomes = []
    for name in names:
        try:
            value = yield ctx.call_child_workflow(name, input=1, retry_policy=RETRY)
        except wf.TaskFailedError as error:
            value = error.details.error_type
        outcomes.append(value)
    return outcomes


@app.workflow
def counting(ctx, value):
    ctx.set_custom_status(f"round {value}")
    event = yield ctx.wait_for_external_event("next")
    if event == "stop":
        return value
    ctx.continue_as_new(value + 1, save_events=True)
    return None


@app.workflow
def random_choices(ctx, _value):
    drawn = [str(ctx.uuid4()), ctx.random_int(1, 1000), ctx.random_string(8)]
    if drawn[1] % 2:
        yield ctx.call_activity(add_one, input=drawn[1])
    else:
        yield ctx.create_timer(timedelta(milliseconds=drawn[1]))
    return drawn


@app.workflow
def patched(ctx, value):
    if ctx.is_patched("in-steps-of-two"):
        value = yield ctx.call_activity(add_one, input=value)
    return (yield ctx.call_activity(add_one, input=value))


@app.workflow
def forgetful(ctx, value):
    ctx.call_activity(add_one, input=value)
    ctx.create_timer(timedelta(hours=1))
    return "done"
