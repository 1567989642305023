"""What the jobs of one process share: a client with its connections, and a board per workload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import anyio
from pydantic import SecretStr

from cpln_flows.api.client import CplnClient
from cpln_flows.jobs.board import StatusBoard
from cpln_flows.model.links import WorkloadRef
from cpln_flows.settings import ApiSettings


@dataclass
class JobSession:
    """An open client, and what is known of the jobs that are followed with it."""

    client: CplnClient
    boards: dict[WorkloadRef, StatusBoard] = field(default_factory=dict)
    users: int = 0

    def board(self, workload: WorkloadRef) -> StatusBoard:
        """Return the board that all followers of this workload's jobs share."""
        return self.boards.setdefault(workload, StatusBoard(self.client, workload))


class _Sessions(WeakKeyDictionary[asyncio.AbstractEventLoop, dict[ApiSettings, JobSession]]):
    """The open sessions of each event loop.

    They stay behind when Prefect pickles a flow together with its module for another process.
    """

    def __reduce__(self) -> tuple[type[_Sessions], tuple[()]]:
        return (_Sessions, ())


# Connections belong to an event loop, and jobs that know nothing of one another should share them,
# so the loop is the key. An entry goes away with its last user, and the rest with its loop.
_SESSIONS = _Sessions()


@asynccontextmanager
async def shared(
    settings: ApiSettings, renew_token: Callable[[], Awaitable[SecretStr]] | None = None
) -> AsyncIterator[JobSession]:
    """Join the session of this event loop, endpoint and token; the last one to leave closes it.

    Args:
        settings: Endpoint, token and limits.
        renew_token: Returns the token as it is configured now; called when the platform refuses
            the current one.
    """
    sessions = _SESSIONS.setdefault(asyncio.get_running_loop(), {})
    session = sessions.get(settings)
    if session is None:
        session = JobSession(CplnClient(settings, renew_token=renew_token))
        # Entering waits for nothing, so nobody else can create a session in the meantime.
        await session.client.__aenter__()
        sessions[settings] = session
    session.users += 1
    try:
        yield session
    finally:
        session.users -= 1
        if session.users == 0:
            del sessions[settings]
            # An interrupted job must not leave connections behind.
            with anyio.CancelScope(shield=True):
                await session.client.__aexit__(None, None, None)
