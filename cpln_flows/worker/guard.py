"""Stop the job of a flow run while it runs, if the state of the flow run requires that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound

from cpln_flows import orchestration
from cpln_flows.jobs import decide
from cpln_flows.jobs.decide import KeepJob, StopJob
from cpln_flows.jobs.run import JobRun
from cpln_flows.model.identifiers import Area
from cpln_flows.model.run_states import RunState
from cpln_flows.worker.flow_runs import FlowRunBoard, Watched

LOOK_SECONDS = 2.0


@dataclass
class Guard:
    """Stops the job of a flow run that is cancelled, over, or gone.

    Args:
        prefect: A client of Prefect's API.
        board: The states of the flow runs that the worker follows.
        run_id: The flow run.
        run: Its job.
        has_supervisor: Whether Prefect's own supervisor runs in the container.
        stop: Stops the job for a reason; returns whether its end was verified.
    """

    prefect: PrefectClient
    board: FlowRunBoard
    run_id: UUID
    run: JobRun
    has_supervisor: bool
    stop: Callable[[str], Awaitable[bool]]

    async def watch(self, entry: Watched) -> None:
        """Act on each noteworthy state of the flow run, until the job has been stopped."""
        policy, poll_seconds = self.run.settings.policy(), self.run.settings.flow_run_poll_seconds
        while True:
            state = entry.state
            has_begun = await self._has_begun() if state is not None else None
            if state is None or has_begun is None:
                await entry.wait(None if state is None else poll_seconds)
                continue
            kind, lasted = RunState(state.type.value), await self.board.now() - state.timestamp
            match decide.job_after(
                kind, lasted, policy, has_begun=has_begun, has_supervisor=self.has_supervisor
            ):
                case KeepJob(at_most):
                    await entry.wait(None if at_most is None else at_most.total_seconds())
                case StopJob(reason):
                    if await self._is_still(state, entry) and await self.stop(reason):
                        return
                    await anyio.sleep(LOOK_SECONDS)

    async def _is_still(self, state: State, entry: Watched) -> bool:
        """Check whether the run is still in this state.

        The board does not report a return to a state that is not noteworthy, and Prefect's server
        lets a run that has crashed or failed run on.
        """
        try:
            present = (await self.prefect.read_flow_run(self.run_id)).state
        except ObjectNotFound:
            return True
        except Exception as error:  # noqa: BLE001 - retried soon, and until then nothing is stopped
            self.run.journal.debug(
                Area.KILL, f"Could not read the flow run before stopping its job: {error!r}"
            )
            return False
        if present is not None and present.id == state.id:
            return True
        entry.forget(state)
        return False

    async def _has_begun(self) -> bool | None:
        try:
            return orchestration.has_begun(await self.prefect.read_flow_run_states(self.run_id))
        except Exception as error:  # noqa: BLE001 - retried soon
            self.run.journal.debug(
                Area.KILL, f"Could not read the history of the flow run: {error!r}"
            )
            return None
