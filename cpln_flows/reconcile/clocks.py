"""Read both servers' clocks, and report when this machine's differs.

What an age means is defined in ``decide``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cpln_flows.api.client import CplnClient
from cpln_flows.prefect_api.clock import PrefectClock
from cpln_flows.reconcile.snapshot import Clocks

NOTEWORTHY_SKEW = timedelta(seconds=5)


@dataclass(frozen=True)
class ServerClocks:
    """Both servers' clocks, as their responses show them.

    Args:
        prefect: Prefect's clock.
        platform: The client whose responses carry the platform's time.
    """

    prefect: PrefectClock
    platform: CplnClient

    def now(self) -> Clocks:
        """Return what both clocks show, as far as that is known."""
        return Clocks(self.prefect.now(), self.platform.now())

    async def read(self) -> Clocks:
        """Return what both clocks show; ask Prefect unless it was asked recently."""
        await self.prefect.refresh()
        return self.now()

    def here(self, stamped: datetime) -> datetime:
        """Return what this machine's clock shows at a moment given by Prefect's clock."""
        return stamped - self.prefect.ahead

    def skews(self) -> dict[str, str]:
        """Return a sentence for each server whose clock differs noticeably from this machine's."""
        return {
            whose: skew(whose, ahead)
            for whose, ahead in self._ahead().items()
            if abs(ahead) > NOTEWORTHY_SKEW
        }

    def agreed(self) -> list[str]:
        """Return the servers whose clocks clearly agree with this machine's.

        Between this limit and that of ``skews`` nothing is reported.
        """
        return [whose for whose, ahead in self._ahead().items() if abs(ahead) < NOTEWORTHY_SKEW / 2]

    def _ahead(self) -> dict[str, timedelta]:
        return {"Prefect": self.prefect.ahead, "the platform": _platform_ahead(self.platform)}


def platform_skew(client: CplnClient) -> str | None:
    """Describe how far the platform's clock is from this machine's, if that is noteworthy."""
    ahead = _platform_ahead(client)
    return skew("the platform", ahead) if abs(ahead) > NOTEWORTHY_SKEW else None


def skew(whose: str, ahead: timedelta) -> str:
    """Describe how far a server's clock is from this machine's.

    >>> skew("Prefect", timedelta(minutes=-20)).partition(";")[0]
    "This machine's clock is 1200 s ahead of the clock of Prefect"
    """
    direction = "behind" if ahead > timedelta(0) else "ahead of"
    return (
        f"This machine's clock is {abs(ahead.total_seconds()):.0f} s {direction}"
        f" the clock of {whose}; ages are judged by the clock that stamped the time"
    )


def _platform_ahead(client: CplnClient) -> timedelta:
    return client.now() - datetime.now(UTC)
