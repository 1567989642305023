"""What a flow run leaves behind when its process dies ends with it.

What has a process of its own keeps running.
"""

import uuid

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry, Completed, Crashed, Pending, Running

from cpln_flows import orchestration
from cpln_flows.model.identifiers import JOB_FLOW

pytestmark = [
    pytest.mark.usefixtures("prefect_api"),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.anyio,
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@flow
def _outer() -> None:
    """A flow whose process has died."""


@flow(name=JOB_FLOW)
def _job() -> None:
    """A flow that runs a job."""


@task
def _step() -> None:
    """A task of it."""


class Tree:
    """A flow run with task runs and flow runs below it."""

    def __init__(self, client) -> None:
        self.client = client
        self.made: list[uuid.UUID] = []

    async def flow_run(self, of=_outer, parent=None, **more):
        step = await self.task_run(parent, Running()) if parent else None
        run = await self.client.create_flow_run(
            of, parent_task_run_id=step.id if step else None, state=Running(), **more
        )
        self.made.append(run.id)
        return run

    async def task_run(self, run, state):
        return await self.client.create_task_run(
            _step, flow_run_id=run.id, dynamic_key=uuid.uuid4().hex, state=state
        )

    async def of_tasks(self, *task_runs) -> list[StateType]:
        return [(await self.client.read_task_run(one.id)).state.type for one in task_runs]

    async def of_flows(self, *runs) -> list[StateType]:
        return [(await self.client.read_flow_run(run.id)).state.type for run in runs]


@pytest.fixture
async def tree():
    async with get_client() as client:
        made = Tree(client)
        yield made
        for run in made.made:
            await client.delete_flow_run(run)


async def test_task_runs_end_with_their_flow_run(tree) -> None:
    run, other = await tree.flow_run(), await tree.flow_run()
    unfinished = [
        await tree.task_run(run, state) for state in (Running(), Pending(), AwaitingRetry())
    ]
    finished = [await tree.task_run(run, state) for state in (Completed(), Crashed())]
    others = await tree.task_run(other, Running())
    await orchestration.propose(
        tree.client, run.id, Crashed(message="killed"), only_from={StateType.RUNNING}
    )
    assert await tree.of_tasks(*unfinished) == [StateType.CRASHED] * 3
    assert await tree.of_tasks(*finished, others) == [
        StateType.COMPLETED,
        StateType.CRASHED,
        StateType.RUNNING,
    ]
    (message,) = {(await tree.client.read_task_run(one.id)).state.message for one in unfinished}
    assert (
        message == "The flow run that it belongs to is CRASHED, and it has not reported its own end"
    )


async def test_cancelled_flow_run_cancels_its_task_runs(tree) -> None:
    run = await tree.flow_run()
    left = await tree.task_run(run, Running())
    await orchestration.end_below(tree.client, {run.id: StateType.CANCELLED})
    assert await tree.of_tasks(left) == [StateType.CANCELLED]


async def test_flow_runs_of_the_same_process_end(tree) -> None:
    outer = await tree.flow_run()
    inner = await tree.flow_run(parent=outer)
    deepest = await tree.flow_run(parent=inner)
    job = await tree.flow_run(_job, parent=inner)
    deployment = await tree.client.create_deployment(
        await tree.client.create_flow(_outer), uuid.uuid4().hex, entrypoint="x:y"
    )
    step = await tree.task_run(outer, Running())
    deployed = await tree.client.create_flow_run_from_deployment(
        deployment, parent_task_run_id=step.id, state=Running()
    )
    tree.made.append(deployed.id)
    left = await tree.task_run(deepest, Running())
    await orchestration.end_below(tree.client, {outer.id: StateType.CRASHED})
    assert await tree.of_flows(inner, deepest) == [StateType.CRASHED] * 2
    assert await tree.of_flows(job, deployed) == [StateType.RUNNING] * 2
    assert await tree.of_tasks(left) == [StateType.CRASHED]


async def test_flow_run_that_goes_on_keeps_its_task_runs(tree) -> None:
    run = await tree.flow_run()
    left = await tree.task_run(run, Running())
    assert not await orchestration.propose(
        tree.client, run.id, Crashed(), only_from={StateType.PENDING}
    )
    assert await tree.of_tasks(left) == [StateType.RUNNING]
