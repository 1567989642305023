"""Make one probe of a running container again and again, until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cpln_flows.emulator.clock import Clock, Timer
from cpln_flows.emulator.executors.base import Check
from cpln_flows.emulator.serving.health import Health, Probe


class Probing:
    """One probe of one process.

    Args:
        probe: What is asked, and how often.
        health: What is known at first.
        ask: Asks the container; returns ``None``, or why the check failed.
        found: Called with what is known after each check.
        clock: The platform's time, by which delay and period are counted.
    """

    def __init__(
        self,
        probe: Probe,
        health: Health,
        ask: Callable[[Check], Awaitable[str | None]],
        found: Callable[[Health], None],
        clock: Clock,
    ) -> None:
        self._probe = probe
        self._health = health
        self._ask = ask
        self._found = found
        self._clock = clock
        self._timer: Timer = clock.call_later(probe.initial_delay, self._due)
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Make no further check; one that is being made is given up."""
        self._stopped = True
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    async def wait_ended(self) -> None:
        """Wait until the last check has been given up."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _due(self) -> None:
        if not self._stopped:
            self._task = asyncio.get_running_loop().create_task(self._check())

    async def _check(self) -> None:
        problem = await self._ask(self._probe.check)
        if self._stopped:
            return
        self._health = self._health.after(problem, self._probe)
        eager = None if self._health.is_passing else self._probe.eager_period
        seconds = self._probe.period if eager is None else eager
        self._timer = self._clock.call_later(seconds, self._due)
        self._found(self._health)
