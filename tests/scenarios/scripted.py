"""Jobs that follow a script on a platform of their own: one process can wait for many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from cpln_flows import CplnConfig, CplnCredentials, CplnJob, CplnJobRun
from cpln_flows.emulator import (
    Exit,
    Fault,
    Line,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.local import LocalPlatform, local_platform
from cpln_flows.orchestration import JobIdentity
from tests.manifests import kubernetes_job
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import programs

LINES = ["one", "two", "three"]
SUCCESS = Script([*(Line(0.05 * n, text) for n, text in enumerate(LINES)), Exit(0.2)])
FAILURE = Script([Line(0, "one"), Exit(0.1, code=3)])
ENDLESS = Script([Line(0, "one")])

_AT_ONCE = 16
# Whatever is awaited comes, however slow the machine is; a wait is given up only after a time that
# no answer needs.
_QUICK = {
    "request_timeout_seconds": PATIENCE_SECONDS,
    "log_settle_seconds": 0.1,
    "stop_grace_seconds": PATIENCE_SECONDS,
    "retry_seconds": PATIENCE_SECONDS,
}
_UNANSWERED = {"request_timeout_seconds": 2.0}
_LONG_AFTER_SECONDS = 3600.0
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Cell:
    """One job and what happens to it."""

    faults: tuple[Fault, ...] = ()
    script: Script = SUCCESS
    config: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    warm: bool = False
    """Whether a job has run on the same platform before the faults begin."""
    held: bool = False
    """Whether the job goes on only when each fault has met a request."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell's job, and what was left on its platform."""

    result: str | None
    error: BaseException | None
    fired: tuple[int, ...]
    jobs_started: int
    active_jobs: list[str]
    workloads: list[dict[str, Any]]
    run: CplnJobRun


def platform(
    script: Script | Callable[[Any], Script] = SUCCESS,
    *,
    jobs_clock: ManualClock | None = None,
    **config: Any,
) -> Platform:
    """A platform on which nothing takes time but what the test asks for.

    Args:
        script: What the jobs do.
        jobs_clock: A clock of the jobs' own: they go on when the test moves it.
        config: Switches of the platform.
    """
    executor = ScriptedExecutor(script)
    made = Platform(PlatformConfig(**{"delete_delay_seconds": 0, **config}), executor=executor)
    if jobs_clock is not None:
        executor.clock = jobs_clock
    return made


def run_of(
    local: LocalPlatform,
    *,
    identity: JobIdentity | None = None,
    settings: Mapping[str, Any] | None = None,
    **fields: Any,
) -> CplnJobRun:
    """A run of a job that does what the platform's script says."""
    given = {"v1_job": kubernetes_job("the executor runs its script instead"), **fields}
    credentials = CplnCredentials(config=CplnConfig(token=local.settings.token))
    job = CplnJob(credentials=credentials, org="local", namespace="quickstart", **given)
    # A run whose caller hangs up is made to notice it; the platform's faults are the current ones.
    unanswered = any(fault["timeout"] for fault in local.platform.faults.as_documents())
    wanted = local.settings.model_copy(
        update={**_QUICK, **(_UNANSWERED if unanswered else {}), **(settings or {})}
    )
    return CplnJobRun(job, identity or JobIdentity.anonymous(), wanted)


async def finish(run: CplnJobRun, longest_seconds: float = PATIENCE_SECONDS) -> str:
    """Start a job and wait for its result."""
    with anyio.fail_after(longest_seconds):
        await run.start()
        await run.wait_for_completion()
        return await run.fetch_result()


async def outcome_of(cell: Cell, longest_seconds: float = PATIENCE_SECONDS) -> Outcome:
    """Run the job of one cell."""
    clock = ManualClock() if cell.held else None
    with local_platform(platform(cell.script, jobs_clock=clock, **(cell.config or {}))) as local:
        if cell.warm:
            await finish(run_of(local, **(cell.fields or {})))
        before = local.platform.jobs_started
        for fault in cell.faults:
            local.platform.faults.add(fault)
        run, result, error = (
            run_of(local, settings=cell.settings, **(cell.fields or {})),
            None,
            None,
        )
        try:
            result = (
                await _finish_held(run, local, clock)
                if clock
                else await finish(run, longest_seconds)
            )
        except Exception as caught:  # noqa: BLE001 - the tests look at it
            error = caught
        fired = _fired(local)
        started, active = local.platform.jobs_started - before, list(local.platform.active_jobs)
        return Outcome(result, error, fired, started, active, local.platform.workloads(), run)


def _fired(local: LocalPlatform) -> tuple[int, ...]:
    return tuple(fault["fired"] for fault in local.platform.faults.as_documents())


async def _finish_held(run: CplnJobRun, local: LocalPlatform, clock: ManualClock) -> str:
    """Finish a job that goes on once every fault has met a request."""

    async def let_go() -> None:
        await programs.reached(lambda: all(_fired(local)))
        clock.advance(_LONG_AFTER_SECONDS)

    letting_go = asyncio.create_task(let_go())
    try:
        return await finish(run)
    finally:
        letting_go.cancel()


def outcomes_of(cells: Mapping[_Key, Cell]) -> dict[_Key, Outcome]:
    """Run the jobs of all cells, many at the same time, because they mostly wait."""
    found: dict[_Key, Outcome] = {}

    async def main() -> None:
        limiter = anyio.Semaphore(_AT_ONCE)

        async def one(key: _Key, cell: Cell) -> None:
            async with limiter:
                found[key] = await outcome_of(cell)

        async with anyio.create_task_group() as group:
            for key, cell in cells.items():
                group.start_soon(one, key, cell)

    anyio.run(main)
    return found
