"""Run the lifecycle hooks of containers, whatever executor runs the containers.

As in Kubernetes, a container does not count as started before its postStart hook has ended, and a
preStop hook delays SIGTERM within the grace period: whoever asks a container to terminate kills it
when that period ends. Unlike there, a container whose hook uses up the period gets no SIGTERM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from cpln_flows.emulator.executors.base import (
    Check,
    Container,
    ContainerEvents,
    Executor,
    Handle,
    RunSpec,
)
from cpln_flows.emulator.executors.checks import command_fails

POST_START_ERROR = "PostStartHookError"
_FAILED_START = 128


def start_with_hooks(
    executor: Executor, run: RunSpec, container: Container, events: ContainerEvents
) -> Handle:
    """Begin one container of a run, with its hooks; return immediately."""
    if not container.post_start and not container.pre_stop:
        return executor.start(run, container, events)
    hooked = _HookedContainer(container, events)
    hooked.use(executor.start(run, container, _Events(hooked, events)))
    return hooked


class _HookedContainer:
    """One running container with hooks."""

    def __init__(self, container: Container, events: ContainerEvents) -> None:
        self._container = container
        self._events = events
        self._handle: Handle | None = None
        self._runs = False
        self._is_told = False
        self._is_over = False
        self._failure = ""
        self._post_start: asyncio.Task[None] | None = None
        self._pre_stop: asyncio.Task[None] | None = None

    def use(self, handle: Handle) -> None:
        """Take the handle of the container, which may have started already."""
        self._handle = handle
        if self._runs:
            self._begin()

    # As a handle

    def terminate(self) -> None:
        """Run the preStop hook once, and ask the first process to terminate."""
        if self._post_start is not None:
            self._post_start.cancel()
        if self._pre_stop is not None and not self._pre_stop.done():
            return
        if not self._container.pre_stop or self._pre_stop is not None or not self._runs:
            self._inner.terminate()
            return
        self._pre_stop = _task(self._run_pre_stop())

    def kill(self) -> None:
        """Kill everything that runs in it."""
        self._cancel()
        self._inner.kill()

    async def wait_gone(self) -> None:
        """Wait until nothing of it is left; from any event loop."""
        self._cancel()
        loop = asyncio.get_running_loop()
        tasks = [each for each in self._tasks if each.get_loop() is loop]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._inner.wait_gone()

    async def check(self, check: Check) -> str | None:
        """Answer a probe: ``None``, or why it failed."""
        return await self._inner.check(check)

    async def execute(self, command: Sequence[str], wrote: Callable[[list[str]], None]) -> int:
        """Run a command in the container to its end; when canceled, kill what it has started."""
        return await self._inner.execute(command, wrote)

    # What the executor reports

    def started(self) -> None:
        """Run the postStart hook; the container has started when that has ended."""
        self._runs = True
        if self._handle is not None:
            self._begin()

    def ended(self, exit_code: int, reason: str, message: str) -> None:
        """Report the end; a failed postStart hook is the reason for the kill that it has caused."""
        self._is_over = True
        self._cancel()
        if self._failure:
            self._events.ended(exit_code or _FAILED_START, POST_START_ERROR, self._failure)
            return
        if self._runs and not self._is_told:
            self._events.started()
        self._events.ended(exit_code, reason, message)

    @property
    def _inner(self) -> Handle:
        if self._handle is None:
            raise RuntimeError("the container is still being started")
        return self._handle

    @property
    def _tasks(self) -> list[asyncio.Task[None]]:
        return [each for each in (self._post_start, self._pre_stop) if each is not None]

    def _cancel(self) -> None:
        for task in self._tasks:
            if not task.get_loop().is_closed():
                task.cancel()

    def _begin(self) -> None:
        if self._container.post_start:
            self._post_start = _task(self._run_post_start())
        else:
            self._tell_started()

    def _tell_started(self) -> None:
        self._is_told = True
        self._events.started()

    async def _run_post_start(self) -> None:
        problem = await command_fails(self._inner.execute, self._container.post_start, None)
        if self._is_over:
            return
        if problem is None:
            self._tell_started()
            return
        self._failure = f"the postStart hook failed: {problem}"
        self._inner.kill()

    async def _run_pre_stop(self) -> None:
        problem = await command_fails(self._inner.execute, self._container.pre_stop, None)
        if self._is_over:
            return
        if problem is not None:
            self._events.note(
                f"container {self._container.name}: the preStop hook failed: {problem}"
            )
        self._inner.terminate()


class _Events:
    """Passes on what an executor reports on a container with hooks."""

    def __init__(self, hooked: _HookedContainer, events: ContainerEvents) -> None:
        self._events = events
        self.note = events.note
        self.waiting = events.waiting
        self.never_placed = events.never_placed
        self.wrote = events.wrote
        self.started = hooked.started
        self.ended = hooked.ended


def _task(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work)
