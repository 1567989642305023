"""The time limits and intervals of reading a job's log, and the clock that measures them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cpln_flows.settings import CplnSettings


def loop_time() -> float:
    """Return the time of the event loop in seconds, which measures pauses and silences."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Pace:
    """Time limits and intervals of reading a log, in seconds.

    Attributes:
        settle: How long to wait for late lines of a job that has ended, unless a line from its last
            moment was seen.
        drain: The longest time to keep rereading the end of the log.
        rotate: Age at which a connection is replaced; the platform cuts it after 30 minutes.
        idle: Length of a silence after which the store is asked whether the connection still shows
            everything.
        progress: Time until the first progress message; later messages come less and less often.
        poll: Longest time between two reads of the stored log while there is no live one, and thus
            roughly how late a line may be.
    """

    settle: float = 5.0
    drain: float = 60.0
    rotate: float = 1500.0
    idle: float = 30.0
    progress: float = 60.0
    poll: float = 5.0

    @classmethod
    def of(cls, settings: CplnSettings) -> Pace:
        """Return the pace that the settings define."""
        return cls(
            settle=settings.log_settle_seconds,
            drain=settings.log_drain_seconds,
            rotate=settings.log_rotate_seconds,
            idle=settings.log_idle_seconds,
            progress=settings.log_progress_seconds,
            poll=settings.log_poll_seconds,
        )
