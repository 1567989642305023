"""Timers for cron workloads: one for each active schedule. Starts no runs itself."""

from __future__ import annotations

from collections.abc import Callable

from cpln_flows.emulator.clock import Clock, Timer
from cpln_flows.emulator.deployments import is_suspended
from cpln_flows.emulator.schedule import parse_schedule
from cpln_flows.emulator.store import Record


class Schedules:
    """The timers of all active schedules; when one fires, ``due`` is called with its workload."""

    def __init__(self, clock: Clock, due: Callable[[Record], None]) -> None:
        self._clock = clock
        self._due = due
        self._timers: dict[int, Timer] = {}

    def arm(self, workload: Record) -> None:
        """Reset the timer of a workload, if its schedule is active."""
        self.disarm(workload)
        spec = workload.document["spec"]
        if workload.deleted or spec.get("type") != "cron" or is_suspended(spec):
            return
        moment = parse_schedule(spec["job"]["schedule"]).next_after(self._clock.now())
        if moment is not None:
            self._timers[workload.sequence] = self._clock.call_at(
                moment, lambda: self._fire(workload)
            )

    def disarm(self, workload: Record) -> None:
        """Cancel the timer of a workload."""
        timer = self._timers.pop(workload.sequence, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Cancel every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _fire(self, workload: Record) -> None:
        self._due(workload)
        self.arm(workload)
