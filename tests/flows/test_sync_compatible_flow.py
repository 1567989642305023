import anyio
import pytest
from prefect import flow
from prefect.context import FlowRunContext

from cpln_flows import CplnJob, JobFailedError, run_namespaced_job
from cpln_flows.sync_compat import SyncCompatibleFlow
from tests.manifests import FAILING, LINES, kubernetes_job, texts

pytestmark = pytest.mark.usefixtures("prefect_api")


async def _double(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * x


double = SyncCompatibleFlow(_double, name="double")


def test_a_plain_call_in_a_script_returns_the_result() -> None:
    assert double(21) == 42


def test_a_plain_call_in_a_sync_flow_is_a_subflow_of_it() -> None:
    parents = []

    async def note() -> None:
        parents.append(FlowRunContext.get().flow_run.parent_task_run_id)

    child = SyncCompatibleFlow(note, name="note")

    @flow
    def parent() -> None:
        child()

    parent()
    assert parents != [None]


def test_an_async_flow_awaits_it() -> None:
    @flow
    async def parent() -> int:
        return await double(4)

    assert anyio.run(parent) == 8


def test_options_make_a_copy_that_behaves_the_same() -> None:
    tries = []

    async def fail_once() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")
        return "done"

    original = SyncCompatibleFlow(fail_once, name="fail-once")
    changed = original.with_options(name="other", retries=1)
    assert isinstance(changed, SyncCompatibleFlow)
    assert (changed.name, changed.retries, original.name, original.retries) == (
        "other",
        1,
        "fail-once",
        0,
    )
    assert changed() == "done"


def test_the_state_can_be_asked_for() -> None:
    state = double(1, return_state=True)
    assert state.is_completed()
    assert anyio.run(state.aresult) == 2


def test_an_error_reaches_the_caller() -> None:
    async def fail() -> None:
        raise ValueError("as it was raised")

    with pytest.raises(ValueError, match="as it was raised"):
        SyncCompatibleFlow(fail, name="fail")()


def test_aio_is_awaited_wherever_it_is_called(local) -> None:
    async def program() -> tuple[str, str]:
        job = CplnJob(v1_job=kubernetes_job(LINES))
        run = await job.trigger.aio(job)
        await run.wait_for_completion.aio(run)
        return await run.fetch_result.aio(run), await run_namespaced_job.aio(job)

    for result in anyio.run(program):
        assert texts(result) == [f"line {number}" for number in range(5)]


def test_aio_of_a_flow_raises_what_it_failed_with(local) -> None:
    with pytest.raises(JobFailedError, match="exit code 3"):
        anyio.run(run_namespaced_job.aio, CplnJob(v1_job=kubernetes_job(FAILING)))
