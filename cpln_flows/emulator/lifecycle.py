"""The lifecycle of runs: started by a command or a schedule, stopped, timed out, ended.

It changes state and does not use HTTP. Every method is called in the platform's event loop and does
its work immediately. Later events come from the clock or the executor.
"""

from __future__ import annotations

import asyncio
import functools
import random
import string
from collections.abc import Iterable

from cpln_flows.emulator.answers import BAD_REQUEST, Document, refuse
from cpln_flows.emulator.checks import Problems
from cpln_flows.emulator.clock import NANOSECONDS, Clock
from cpln_flows.emulator.commands import RUN, STOP, Commands
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.deployments import Deployments, cluster_id
from cpln_flows.emulator.executors.base import Handle
from cpln_flows.emulator.job_runner import JobRunner
from cpln_flows.emulator.runs import Run
from cpln_flows.emulator.schedules import Schedules
from cpln_flows.emulator.serving.network import Network
from cpln_flows.emulator.serving.services import Services
from cpln_flows.emulator.serving.wanted import serves
from cpln_flows.emulator.shapes import COMMAND, check_shape
from cpln_flows.emulator.store import Record
from cpln_flows.emulator.workload_rules import check_run, check_stop

_SUFFIX = string.ascii_lowercase + string.digits
_MINUTE = 60


class Lifecycle:
    """The runs of all workloads."""

    def __init__(
        self,
        *,
        config: PlatformConfig,
        clock: Clock,
        deployments: Deployments,
        commands: Commands,
        runner: JobRunner,
        services: Services,
        network: Network,
    ) -> None:
        self._config = config
        self._clock = clock
        self._deployments = deployments
        self._commands = commands
        self._runner = runner
        self._services = services
        self._network = network
        self._schedules = Schedules(clock, self._schedule_due)
        self._random = random.Random(config.seed)  # noqa: S311 - a name's suffix, not a secret

    def workload_changed(self, workload: Record) -> None:
        """Note a workload's creation or change."""
        self._deployments.changed(workload)
        self._schedules.arm(workload)
        self._services.changed(workload)

    def gvc_changed(self, workloads: Iterable[Record]) -> None:
        """Note a change of the GVC of workloads, which may have new locations."""
        for workload in workloads:
            self._services.changed(workload)

    def workload_deleted(self, workload: Record) -> None:
        """End the schedule and the runs of a workload that is being deleted."""
        self._schedules.disarm(workload)
        for run in self._deployments.runs(workload):
            if not run.is_over:
                run.ended_by = "deletion"
                self._runner.kill(run)
        self._services.deleted(workload)

    def workload_gone(self, workload: Record) -> None:
        """Forget a deleted workload's commands and executions."""
        self._commands.forget_all(workload)
        self._deployments.forget(workload)

    def command(self, workload: Record, body: Document, endpoint: str) -> Record:
        """Execute a command of a workload."""
        problems = Problems()
        check_shape(problems, body, COMMAND)
        if refusal := problems.refusal():
            raise refusal
        locations = self._deployments.locations(workload)
        kind = body.get("type")
        if kind == RUN:
            check_run(problems, body, workload.document, locations)
        elif kind == STOP:
            check_stop(problems, body, locations, self._config)
        else:
            problems.add("type", f"must be one of [{RUN}, {STOP}]")
        refusal = problems.refusal()
        if refusal is not None:
            raise refusal
        return (
            self._run_command(workload, body, endpoint)
            if kind == RUN
            else self._stop_command(workload, body)
        )

    def replicas(self, workload: Record, location: str) -> list[str]:
        """Return the names of the replicas that exist in a location."""
        runs = self._deployments.runs(workload, location)
        of_runs = [run.replica for run in runs if run.placed and not run.is_over]
        return [*of_runs, *self._services.names(workload, location)]

    async def aclose(self) -> None:
        """Kill every run and wait until nothing of it is left."""
        self._runner.close()
        self._schedules.close()
        handles: list[Handle] = []
        for run in self._deployments.active_runs():
            handles += run.handles()
            self._runner.kill(run)
        await asyncio.gather(self._services.aclose(), *(handle.wait_gone() for handle in handles))

    # On demand

    def _run_command(self, workload: Record, body: Document, endpoint: str) -> Record:
        status = {"minimumWorkloadVersion": workload.version, "messages": []}
        command = self._commands.create(workload, body, status)
        name = f"command-{command.id}"
        run = self._new_run(workload, command.document["spec"]["location"], name, command)
        self._deployments.add_run(run)
        delay = max(
            self._config.start_delay_seconds, self._deployments.seconds_until_ready(workload)
        )
        self._runner.later(run, delay, lambda: self._runner.begin(run, endpoint))
        return command

    def _stop_command(self, workload: Record, body: Document) -> Record:
        spec = body["spec"]
        location, replica = spec["location"], spec.get("replica")
        active = self._commands.active_stop(workload, location, replica)
        if active is not None:
            what = f"for replica {replica}" if replica else f"in location {location}"
            raise refuse(
                BAD_REQUEST, f"an active stopReplica command {what} already exists: {active.link}"
            )
        command = self._commands.create(
            workload, body, {"clusterId": cluster_id(location), "messages": []}
        )
        self._clock.call_later(0, lambda: self._stop(workload, command, location, replica))
        return command

    def _stop(self, workload: Record, command: Record, location: str, replica: str | None) -> None:
        if serves(workload.document["spec"]):
            self._services.stop(workload, command)
            return
        runs = [
            run
            for run in self._deployments.runs(workload, location)
            if run.placed and not run.is_over and replica in (None, run.replica)
        ]
        if not runs:
            self._commands.update(
                command, "failed", f"no replica {replica or ''} is running in {location}"
            )
            return
        self._commands.update(command, "running", podId=runs[0].replica)
        for run in runs:
            if run.command is not None:
                self._commands.update(command, podCreatedByCommandLink=run.command.link)
                self._commands.update(run.command, self._config.stage_while_stopping)
            run.stops.append(command)
            run.ended_by = "stop" if run.ended_by == "itself" else run.ended_by
            self._runner.terminate(run)

    def _schedule_due(self, workload: Record) -> None:
        policy = (workload.document["spec"].get("job") or {}).get("concurrencyPolicy", "Forbid")
        minutes = self._clock.time_ns() // NANOSECONDS // _MINUTE
        for location in self._deployments.locations(workload):
            runs = self._deployments.runs(workload, location)
            busy = [run for run in runs if run.command is None and not run.is_over]
            if busy and policy == "Forbid":
                continue
            for run in busy if policy == "Replace" else ():
                run.ended_by = "deletion"
                self._runner.terminate(run)
            run = self._new_run(workload, location, f"{workload.name}-{minutes}", None)
            self._deployments.add_run(run)
            self._runner.later(
                run,
                self._config.start_delay_seconds,
                functools.partial(self._runner.begin, run, self._network.endpoint),
            )

    def _new_run(self, workload: Record, location: str, name: str, command: Record | None) -> Run:
        suffix = "".join(self._random.choices(_SUFFIX, k=5))
        return Run(
            workload=workload,
            location=location,
            name=name,
            replica=f"{name}-{suffix}",
            version=workload.version,
            containers={},
            command=command,
        )
