"""The asyncio client against a real worker."""

from __future__ import annotations

import asyncio

import pytest

from engine.client import AsyncWorkflowClient, WorkflowStatus
from engine.errors import InstanceNotFoundError, InvalidCommandError
from tests.client.running import Place, approval, chain

WAIT_S = 30


def test_a_workflow_is_started_awaited_and_shown(place: Place):
    async def use() -> None:
        async with place.open_async() as client:
            instance_id = await client.schedule_new_workflow(chain, input=1)
            state = await client.wait_for_workflow_completion(instance_id, timeout_in_seconds=WAIT_S)
            assert state.output == 4
            assert await client.get_workflow_state(instance_id) == state
            assert len(await client.get_workflow_history(instance_id)) == 8
            listed = await client.list_workflow_instances(prefix=instance_id)
            assert [each.instance_id for each in listed] == [instance_id]

    asyncio.run(use())


def test_many_tasks_wait_at_once(place: Place):
    async def one(client: AsyncWorkflowClient, number: int) -> int:
        instance_id = await client.schedule_new_workflow(chain, input=number)
        return (await client.wait_for_workflow_completion(instance_id, timeout_in_seconds=WAIT_S)).output

    async def use() -> list[int]:
        async with place.open_async() as client:
            return await asyncio.gather(*(one(client, number) for number in range(50)))

    assert asyncio.run(use()) == [number + 3 for number in range(50)]


def test_all_commands_have_their_effect(place: Place):
    async def use() -> None:
        async with place.open_async() as client:
            instance_id = await client.schedule_new_workflow(approval, input="tea")
            await client.wait_for_workflow_start(instance_id, timeout_in_seconds=WAIT_S)
            await client.pause_workflow(instance_id)
            await client.resume_workflow(instance_id)
            await client.raise_workflow_event(instance_id, "answer", data=2)
            state = await client.wait_for_workflow_completion(instance_id, timeout_in_seconds=WAIT_S)
            assert state.output == {"item": "tea", "answer": 2}
            other = await client.schedule_new_workflow(approval, input="tea")
            await client.terminate_workflow(other)
            state = await client.wait_for_workflow_completion(other, timeout_in_seconds=WAIT_S)
            assert state.runtime_status is WorkflowStatus.TERMINATED
            await client.purge_workflow(other)
            async with asyncio.timeout(WAIT_S):
                while await client.get_workflow_state(other) is not None:
                    pass
            with pytest.raises(InstanceNotFoundError):
                await client.get_workflow_history(other)

    asyncio.run(use())


def test_a_cancelled_or_late_wait_leaves_nothing_behind(place: Place):
    async def use() -> None:
        async with place.open_async() as client:
            instance_id = await client.schedule_new_workflow(approval, input="tea")
            await client.wait_for_workflow_start(instance_id, timeout_in_seconds=WAIT_S)
            waiting = asyncio.create_task(client.wait_for_workflow_completion(instance_id))
            with pytest.raises(TimeoutError, match="RUNNING"):
                await client.wait_for_workflow_completion(instance_id, timeout_in_seconds=0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await client.terminate_workflow(instance_id)
            state = await client.wait_for_workflow_completion(instance_id, timeout_in_seconds=WAIT_S)
            assert state.runtime_status is WorkflowStatus.TERMINATED

    asyncio.run(use())


def test_what_cannot_be_accepted_is_refused(directory_place: Place):
    async def use() -> None:
        async with directory_place.open_async() as client:
            with pytest.raises(InvalidCommandError, match="instance_id"):
                await client.schedule_new_workflow("x", instance_id="a/b")

    asyncio.run(use())
