"""Both sides brought into agreement: a real Prefect server, the local platform, and what a worker would have done."""

import anyio
import pytest
from prefect.states import Pending, Running

from cpln_flows import SyncOptions, sync_cpln_to_prefect
from tests.manifests import FAILING
from tests.scenarios.hands import Hands

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.xdist_group("prefect")]


def now(**more) -> SyncOptions:
    """Options without any grace, of one pool."""
    graces = {"completed_grace_seconds": 0, "stop_grace_seconds": 0, "submission_limit_seconds": 0}
    return SyncOptions(**{**graces, **more})


async def until(look, seconds=20.0):
    with anyio.fail_after(seconds):
        while not (found := await look()):  # noqa: ASYNC110 - another process does it
            await anyio.sleep(0.05)
    return found


@pytest.mark.anyio
async def test_a_run_whose_container_fails_is_crashed_with_exit_code_and_reason(local) -> None:
    async with Hands(local) as hands:
        run = await hands.run(Pending(), Running())
        ref = await hands.container(run, await hands.workload(FAILING))

        async def failed() -> bool:
            return await hands.stage(ref) == "failed"

        await until(failed)
        result = await sync_cpln_to_prefect(options=now(work_pool=hands.pool))
        state = await hands.state(run)
        assert state.type == "CRASHED"
        assert "exit code 3" in state.message
        assert result["changes"] == 1
