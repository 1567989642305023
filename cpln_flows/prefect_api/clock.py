"""Prefect's time, by which to judge the age of a state: the server stamps states with it."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta

from prefect.client.orchestration import PrefectClient

from cpln_flows.api.timekeeping import ServerTime

_REFRESH_SECONDS = 60.0


class PrefectClock:
    """The clock of a Prefect server.

    Args:
        client: An open client of Prefect's API.
        refresh_seconds: How long the difference to this machine's clock stays good, in seconds.
    """

    def __init__(self, client: PrefectClient, *, refresh_seconds: float = _REFRESH_SECONDS) -> None:
        self._client = client
        self._refresh_seconds = refresh_seconds
        self._time = ServerTime()
        self._refreshed = -math.inf

    @property
    def ahead(self) -> timedelta:
        """How far Prefect's clock is ahead of this machine's; negative when it is behind."""
        return self._time.ahead

    def now(self) -> datetime:
        """Return Prefect's time, as far as it is known."""
        return self._time.now()

    async def refresh(self) -> datetime:
        """Return Prefect's time; ask the server for it unless that was done recently.

        Raises:
            Exception: Whatever Prefect's client raises when the server does not answer.
        """
        if time.monotonic() - self._refreshed >= self._refresh_seconds:
            # The methods of Prefect's client return no headers; its public `request` does.
            answer = await self._client.request("GET", "/health")
            self._time.learn(answer.headers.get("date"))
            self._refreshed = time.monotonic()
        return self.now()
