"""Task chaining: each step gets the result of the one before; when one fails for good, a compensation runs.

engine dev examples.task_chaining:app
engine start task_chain_workflow --input 42 --wait
engine start task_chain_workflow --input -1 --wait     # step 3 refuses it: the error handler runs
"""

from datetime import timedelta

import engine as wf

app = wf.WorkflowRuntime()

# Each wait is twice as long as the one before. The waits are durable timers: they survive restarts.
retry_policy = wf.RetryPolicy(
    first_retry_interval=timedelta(milliseconds=200),
    backoff_coefficient=2.0,
    max_retry_interval=timedelta(seconds=5),
    max_number_of_attempts=3,
)


@app.workflow
def task_chain_workflow(ctx: wf.DaprWorkflowContext, wf_input: int):
    try:
        result1 = yield ctx.call_activity(step1, input=wf_input, retry_policy=retry_policy)
        result2 = yield ctx.call_activity(step2, input=result1, retry_policy=retry_policy)
        result3 = yield ctx.call_activity(step3, input=result2, retry_policy=retry_policy)
    except wf.TaskFailedError as e:
        # Retries expired: run the compensation, then let the workflow fail with what went wrong.
        yield ctx.call_activity(error_handler, input=str(e), retry_policy=retry_policy)
        raise
    return [result1, result2, result3]


@app.activity
def step1(ctx, activity_input):
    print(f"Step 1: Received input: {activity_input}.")
    # Do some work
    return activity_input + 1


@app.activity
def step2(ctx, activity_input):
    print(f"Step 2: Received input: {activity_input}.")
    # Do some work
    return activity_input * 2


@app.activity
def step3(ctx, activity_input):
    print(f"Step 3: Received input: {activity_input}, attempt {ctx.attempt}.")
    if activity_input == 0:
        raise ValueError("there is no work in nothing")
    return activity_input ^ 2


@app.activity
def error_handler(ctx, error):
    print(f"Executing error handler: {error}.")
    # Do some compensating work
