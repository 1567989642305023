"""How long things take that have to do with the log of a job, and the clock that they are measured with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cpln_flows.settings import CplnSettings


def loop_time() -> float:
    """Return the time of the event loop, in seconds, by which pauses and silences are measured."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Pace:
    """How long things take that have to do with the log, in seconds.

    Attributes:
        settle: How long late lines of a job that has ended are waited for, unless one from its last moment was seen.
        drain: How long the end of the log is read again at most.
        rotate: Age at which a connection is replaced; the platform cuts it after 30 minutes.
        idle: Silence after which the store is asked whether the connection still tells everything.
        progress: Time until the first message on how far the log is; later ones come less and less often.
        poll: Longest time between two looks at the stored log while there is no live one, and so about how late a line is.
    """

    settle: float = 5.0
    drain: float = 60.0
    rotate: float = 1500.0
    idle: float = 30.0
    progress: float = 60.0
    poll: float = 5.0

    @classmethod
    def of(cls, settings: CplnSettings) -> Pace:
        """Return the pace that the settings ask for."""
        return cls(
            settle=settings.log_settle_seconds,
            drain=settings.log_drain_seconds,
            rotate=settings.log_rotate_seconds,
            idle=settings.log_idle_seconds,
            progress=settings.log_progress_seconds,
            poll=settings.log_poll_seconds,
        )
