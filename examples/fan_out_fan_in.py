"""Fan-out/fan-in: many activities at once, then something with all their results.

engine dev examples.fan_out_fan_in:app
engine start batch_processing_workflow --input 10 --wait
"""

import engine as wf

app = wf.WorkflowRuntime()


@app.workflow
def batch_processing_workflow(ctx: wf.DaprWorkflowContext, wf_input: int):
    # get a batch of N work items to process in parallel
    work_batch = yield ctx.call_activity(get_work_batch, input=wf_input)

    # schedule N parallel tasks to process the work items and wait for all to complete
    parallel_tasks = [ctx.call_activity(process_work_item, input=work_item) for work_item in work_batch]
    outputs = yield wf.when_all(parallel_tasks)

    # aggregate the results and send them to another activity
    total = sum(outputs)
    yield ctx.call_activity(process_results, input=total)
    return total


@app.activity
def get_work_batch(ctx, batch_size: int) -> list[int]:
    return [i + 1 for i in range(batch_size)]


@app.activity
def process_work_item(ctx, work_item: int) -> int:
    print(f"Processing work item: {work_item}.")
    result = work_item * 2
    print(f"Work item {work_item} processed. Result: {result}.")
    return result


@app.activity
def process_results(ctx, final_result: int):
    print(f"Final result: {final_result}.")
