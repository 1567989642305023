"""Runs that follow a script instead of a program, so that tests can see every end of a container.

A script is a list of steps. Their times are in seconds since the container's start, on the
platform's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cpln_flows.emulator.clock import NANOSECONDS, Clock, RealClock, Timer
from cpln_flows.emulator.executors.base import Check, Container, ContainerEvents, Handle, RunSpec
from cpln_flows.emulator.lines import cut_text

TERMINATED = 143
KILLED = 137


@dataclass(frozen=True, slots=True)
class Line:
    """The container writes a line (or several, separated by line ends)."""

    at_seconds: float
    text: str
    container: str | None = None
    stream: str = "stdout"


@dataclass(frozen=True, slots=True)
class Exit:
    """The container ends; ``reason`` and ``message`` default to what the code implies."""

    at_seconds: float = 0.0
    code: int = 0
    reason: str | None = None
    message: str | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The container exceeds its memory limit and is killed."""

    at_seconds: float = 0.0
    container: str | None = None


@dataclass(frozen=True, slots=True)
class ImagePullFailure:
    """The image cannot be pulled; the container waits for it forever."""

    message: str = "image not found"
    at_seconds: float = 0.0
    container: str | None = None


@dataclass(frozen=True, slots=True)
class NeverStart:
    """No replica is created, for lack of capacity."""

    message: str = "no capacity is available in this location"
    at_seconds: float = 0.0
    container: str | None = None


Step: TypeAlias = Line | Exit | OutOfMemory | ImagePullFailure | NeverStart


@dataclass(frozen=True, slots=True)
class Script:
    """The behavior of one run; a step without a container is the main container's.

    Attributes:
        steps: What happens, in any order.
        stop_after_seconds: Time that a container takes to end after SIGTERM.
        ignores_stop: Whether the container ignores SIGTERM; it is then killed after the grace
            period.
        ignores_kill: Whether the replica cannot be removed: it never ends, whatever happens.
        stop_exit_code: The exit code after SIGTERM.
        ready_after_seconds: Time for which probes of its containers fail.
        unhealthy_after_seconds: Time after which they fail again; ``None`` for never.
    """

    steps: Sequence[Step] = field(default_factory=lambda: (Exit(),))
    stop_after_seconds: float = 0.0
    ignores_stop: bool = False
    ignores_kill: bool = False
    stop_exit_code: int = TERMINATED
    ready_after_seconds: float = 0.0
    unhealthy_after_seconds: float | None = None

    def problem_after(self, seconds: float) -> str | None:
        """Return why a probe fails at this time since the container's start, or ``None``."""
        if seconds < self.ready_after_seconds:
            return "not ready yet, by the script"
        if self.unhealthy_after_seconds is None or seconds < self.unhealthy_after_seconds:
            return None
        return "unhealthy, by the script"

    def last_exit_seconds(self) -> float | None:
        """Return the time at which the last container that ends by itself does so."""
        ends = [step.at_seconds for step in self.steps if isinstance(step, Exit | OutOfMemory)]
        return max(ends, default=None)


class ScriptedExecutor:
    """Runs containers by scripts.

    ``script_for`` selects the script; it is called for each container and restart.
    """

    def __init__(
        self, script_for: Callable[[RunSpec], Script] | Script, *, clock: Clock | None = None
    ) -> None:
        self._script_for = script_for
        self.clock: Clock = clock or RealClock()

    def start(self, run: RunSpec, container: Container, events: ContainerEvents) -> Handle:
        """Begin one container of a run; return immediately."""
        script = self._script_for if isinstance(self._script_for, Script) else self._script_for(run)
        first = container is run.containers[0]
        steps = [
            step
            for step in script.steps
            if (step.container or run.containers[0].name) == container.name
        ]
        end = script.last_exit_seconds()
        if not first and not steps and end is not None:
            steps = [Exit(end)]
        played = _Played(script, container, events, self.clock)
        played.begin(steps)
        return played


class _Played:
    """One container that follows a script."""

    def __init__(
        self, script: Script, container: Container, events: ContainerEvents, clock: Clock
    ) -> None:
        self._script = script
        self._container = container
        self._events = events
        self._clock = clock
        self._began_ns = clock.time_ns()
        self._timers: list[Timer] = []
        self._over = False
        self._stopping = False

    def begin(self, steps: list[Step]) -> None:
        """Set a timer for each step."""
        if not any(isinstance(step, ImagePullFailure | NeverStart) for step in steps):
            self._events.started()
        for step in sorted(steps, key=lambda each: each.at_seconds):
            if step.at_seconds <= 0 and not isinstance(step, Exit | OutOfMemory):
                self._play(step)
            else:
                self._later(step.at_seconds, step)

    def terminate(self) -> None:
        """Ask its first process to terminate."""
        if self._script.ignores_stop or self._stopping:
            return
        self._stopping = True
        code = self._script.stop_exit_code
        self._later(
            self._script.stop_after_seconds,
            Exit(code=code, reason="Error" if code else "Completed"),
        )

    def kill(self) -> None:
        """Kill everything that runs in it."""
        if not self._script.ignores_kill:
            self._end(KILLED, "Error", "killed by SIGKILL")

    async def wait_gone(self) -> None:
        """Stop playing; a script leaves nothing behind."""
        self._forget_timers()
        self._over = True

    async def check(self, check: Check) -> str | None:  # noqa: ARG002 - the script decides
        """Answer a probe: ``None``, or why it failed."""
        return self._script.problem_after((self._clock.time_ns() - self._began_ns) / NANOSECONDS)

    async def execute(self, command: Sequence[str], wrote: Callable[[list[str]], None]) -> int:
        """Run a command in the container: a script knows none but to show what it was given."""
        wrote([" ".join(command)])
        return 0

    def _later(self, seconds: float, step: Step) -> None:
        self._timers.append(self._clock.call_later(seconds, lambda: self._play(step)))

    def _play(self, step: Step) -> None:
        if self._over:
            return
        match step:
            case Line():
                self._events.wrote(step.stream, [cut_text(line) for line in step.text.split("\n")])
            case Exit():
                reason = step.reason or ("Error" if step.code else "Completed")
                message = step.message
                self._end(
                    step.code, reason, describe_exit(step.code) if message is None else message
                )
            case OutOfMemory():
                message = (
                    f"the container used more than its memory limit of {self._container.memory}"
                )
                self._end(KILLED, "OOMKilled", message)
            case ImagePullFailure():
                self._events.waiting("ImagePullBackOff", step.message)
            case NeverStart():
                self._events.never_placed(step.message)

    def _end(self, code: int, reason: str, message: str) -> None:
        if self._over:
            return
        self._over = True
        self._forget_timers()
        self._events.ended(code, reason, message)

    def _forget_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()


_SIGNAL_BASE = 128
_SIGNALS = {2: "SIGINT", 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


def describe_exit(code: int) -> str:
    """Describe how a container ended; empty for a success."""
    if code == 0:
        return ""
    if code > _SIGNAL_BASE and code - _SIGNAL_BASE in _SIGNALS:
        return f"the container ended by {_SIGNALS[code - _SIGNAL_BASE]} (exit code {code})"
    return f"the container ended with exit code {code}"
