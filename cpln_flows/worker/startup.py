"""Watch the platform start a flow run's container.

What it waits for is shown, and no start may wait forever.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.states import InfrastructurePending

from cpln_flows import orchestration
from cpln_flows.jobs.run import JobRun
from cpln_flows.model.identifiers import Area
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.resources import Command

_ANNOUNCE_SECONDS = 3.0
_LOOK_SECONDS = 2.0
_PENDING_NAME = "InfrastructurePending"
_NO_IMAGE = re.compile(r"ErrImage|ImagePull|InvalidImageName|manifest unknown", re.IGNORECASE)


@dataclass
class Startup:
    """Watches the start of one container.

    Args:
        prefect: A client of Prefect's API.
        run_id: The flow run.
        run: Its job.
        patience_seconds: How long to wait for an image that the platform reports it cannot fetch.
        stop: Stops the job for a reason.
        command: The job as it was last seen.
        failure: Why the container could not be started, once this has been given up.
    """

    prefect: PrefectClient
    run_id: UUID
    run: JobRun
    patience_seconds: float
    stop: Callable[[str], Awaitable[bool]]
    command: Command | None = None
    failure: str | None = None

    def observe(self, command: Command) -> None:
        """Record the current state of the job."""
        self.command = command

    async def watch(self) -> None:
        """Report that, and why, the container has not started yet; stop one that cannot start."""
        await anyio.sleep(_ANNOUNCE_SECONDS)
        told: set[str] = set()
        while self.command is None or self.command.lifecycle_stage == Stage.PENDING:
            text = "; ".join(self._messages())
            if text not in told:
                told.add(text)
                await self._report(text)
            if (
                _NO_IMAGE.search(text)
                and time.monotonic() - self.run.job.started >= self.patience_seconds
            ):
                self.failure = (
                    f"the container did not start within {self.patience_seconds:g} s: {text}"
                )
                await self.stop(self.failure)
                return
            await anyio.sleep(_LOOK_SECONDS)

    def _messages(self) -> list[str]:
        found = self.command.status.messages if self.command else []
        return [
            str(message.get("message", message)) if isinstance(message, dict) else str(message)
            for message in found
        ]

    async def _report(self, text: str) -> None:
        if text:
            self.run.journal.warning(
                Area.JOB, f"The platform has not started the container: {text}"
            )
        message = f"The platform is starting the container at {self.run.plan.location}" + (
            f": {text}" if text else ""
        )
        try:
            state: State[None] = InfrastructurePending(message=message)
            await orchestration.propose(
                self.prefect,
                self.run_id,
                state,
                only_from={StateType.PENDING},
                unless=None if text else _PENDING_NAME,
            )
        except Exception as error:  # noqa: BLE001 - the state is only informative
            self.run.journal.debug(
                Area.JOB, f"The state {_PENDING_NAME} could not be proposed: {error!r}"
            )
