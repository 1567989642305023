"""The lifecycle of runs: started by a command or a schedule, stopped, timed out, ended.

It changes state and does not use HTTP. Every method is called in the platform's event loop and does
its work immediately. Later events come from the clock or the executor.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import string
from collections.abc import Callable, Iterable
from dataclasses import replace

from cpln_flows.emulator.answers import BAD_REQUEST, Document, refuse
from cpln_flows.emulator.authentication import Authentication
from cpln_flows.emulator.checks import Problems
from cpln_flows.emulator.clock import NANOSECONDS, Clock, ns_to_datetime
from cpln_flows.emulator.commands import RUN, STOP, Commands
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.containers import Access, ContainerBuilder, UnavailableError
from cpln_flows.emulator.deployments import Deployments, cluster_id
from cpln_flows.emulator.executors.base import Executor, Handle
from cpln_flows.emulator.executors.hooks import start_with_hooks
from cpln_flows.emulator.logs import Logs
from cpln_flows.emulator.placement import log_labels
from cpln_flows.emulator.runs import ContainerState, Run
from cpln_flows.emulator.schedules import Schedules
from cpln_flows.emulator.serving.network import Network
from cpln_flows.emulator.serving.services import Services
from cpln_flows.emulator.serving.wanted import serves
from cpln_flows.emulator.shapes import COMMAND, check_shape
from cpln_flows.emulator.store import Record
from cpln_flows.emulator.workload_rules import check_run, check_stop

_SECRET_RETRY_SECONDS = 5.0
_RESTART_DELAY_MAX = 300.0
_DOUBLINGS = 20
_SUFFIX = string.ascii_lowercase + string.digits
_MINUTE = 60

logger: logging.Logger = logging.getLogger(__name__)


class Lifecycle:
    """The runs of all workloads."""

    def __init__(
        self,
        *,
        config: PlatformConfig,
        clock: Clock,
        deployments: Deployments,
        commands: Commands,
        builder: ContainerBuilder,
        authentication: Authentication,
        logs: Logs,
        executor: Executor,
        services: Services,
        network: Network,
    ) -> None:
        self._config = config
        self._clock = clock
        self._deployments = deployments
        self._commands = commands
        self._builder = builder
        self._authentication = authentication
        self._logs = logs
        self._executor = executor
        self._services = services
        self._network = network
        self._schedules = Schedules(clock, self._schedule_due)
        self._random = random.Random(config.seed)  # noqa: S311 - a name's suffix, not a secret
        self._closed = False
        self.started_runs: int = 0

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
                self._kill(run)
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
        self._closed = True
        self._schedules.close()
        handles: list[Handle] = []
        for run in self._deployments.active_runs():
            handles += run.handles()
            self._kill(run)
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
        self._later(run, delay, lambda: self._begin(run, endpoint))
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
            self._terminate(run)

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
                self._terminate(run)
            run = self._new_run(workload, location, f"{workload.name}-{minutes}", None)
            self._deployments.add_run(run)
            self._later(
                run,
                self._config.start_delay_seconds,
                functools.partial(self._begin, run, self._network.endpoint),
            )

    # One run

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

    def _later(self, run: Run, seconds: float, call: Callable[[], None]) -> None:
        run.timers.append(self._clock.call_later(seconds, call))

    def _begin(self, run: Run, endpoint: str) -> None:
        if run.is_over or self._closed:
            return
        run.version, spec = self._deployments.processed_spec(run.workload)
        access = Access(
            endpoint,
            self._authentication.issue_workload_token(spec.get("identityLink")),
            self._network.admit(run),
        )
        try:
            run.spec = self._builder.build(run, spec, access)
        except UnavailableError as error:
            self._authentication.revoke_workload_token(access.token)
            self._network.dismiss(run)
            self._message(run, str(error))
            self._later(run, _SECRET_RETRY_SECONDS, lambda: self._begin(run, endpoint))
            return
        run.containers = {
            each.name: ContainerState(each.name, each.image, each.cpu, each.memory)
            for each in run.spec.containers
        }
        run.started_ns = self._clock.time_ns()
        run.placed = True
        self.started_runs += 1
        self._set_deadline(run, spec)
        for state in run.containers.values():
            self._start_container(run, state)
        if run.placed and run.command is not None:
            self._commands.update(run.command, replica=run.replica)

    def _set_deadline(self, run: Run, spec: Document) -> None:
        seconds = (spec.get("job") or {}).get("activeDeadlineSeconds")
        if run.command is not None:
            seconds = run.command.document["spec"].get("activeDeadlineSeconds", seconds)
        if seconds is not None:
            self._later(run, seconds, lambda: self._deadline_passed(run))

    def _deadline_passed(self, run: Run) -> None:
        if run.is_over:
            return
        now_ns = self._clock.time_ns()
        message = "Job was active longer than specified deadline"
        run.add_condition("FailureTarget", "DeadlineExceeded", message, now_ns)
        self._message(run, f"DeadlineExceeded: {message}")
        if run.ended_by == "itself":
            run.ended_by = "deadline"
        self._terminate(run)

    def _terminate(self, run: Run) -> None:
        """Send SIGTERM now, and kill everything after the grace period."""
        for handle in run.handles():
            handle.terminate()
        rollout = run.workload.document["spec"].get("rolloutOptions") or {}
        grace = rollout.get("terminationGracePeriodSeconds", self._config.stop_grace_seconds)
        self._later(run, grace, lambda: self._kill(run))
        self._end_waiting(run)

    def _kill(self, run: Run) -> None:
        for handle in run.handles():
            handle.kill()
        self._end_waiting(run)

    def _end_waiting(self, run: Run) -> None:
        """End what has no process.

        That is a container between two restarts, or a run that never got a replica.
        """
        if run.is_over:
            return
        for state in run.containers.values():
            if state.handle is None and not state.over:
                state.over = True
        if all(state.over for state in run.containers.values()):
            self._finish(run)

    # Containers

    def _start_container(self, run: Run, state: ContainerState) -> None:
        if run.spec is None or run.is_over or self._closed:
            return
        container = next(each for each in run.spec.containers if each.name == state.name)
        state.message = ""
        spec = replace(run.spec, attempt=state.restarts) if state.restarts else run.spec
        events = _Events(self, run, state, self._logs, self._config)
        state.handle = start_with_hooks(self._executor, spec, container, events)

    def container_started(self, run: Run, state: ContainerState) -> None:
        """Note that a container's first process runs."""
        state.running = True
        run.status = "active" if run.status == "pending" else run.status
        if run.command is not None and run.command.document["lifecycleStage"] == "pending":
            self._commands.update(run.command, "running", replica=run.replica)

    def container_waits(self, run: Run, state: ContainerState, reason: str, message: str) -> None:
        """Note that a container cannot start now."""
        state.message = f"{reason}: {message}"
        self._message(run, f"container {state.name}: {reason}: {message}")

    def never_placed(self, run: Run, message: str) -> None:
        """Note that no replica will be created."""
        run.placed = False
        run.started_ns = None
        self._message(run, message)

    def note(self, run: Run, message: str) -> None:
        """Report something about a run to the user."""
        self._message(run, message)

    def container_ended(
        self, run: Run, state: ContainerState, code: int, reason: str, message: str
    ) -> None:
        """Restart a container that has ended, or check whether the run is over."""
        if run.is_over or state.over:
            return
        state.running = False
        state.handle = None
        state.exit_code, state.reason, state.message = code, reason, message
        if self._restarts(run, state):
            delay = min(
                self._config.restart_delay_seconds * 2 ** min(state.restarts, _DOUBLINGS),
                _RESTART_DELAY_MAX,
            )
            state.restarts += 1
            self._later(run, delay, lambda: self._start_container(run, state))
            return
        state.over = True
        if code:
            self._message(run, f"container {state.name}: {reason}: {message}")
        if all(each.over for each in run.containers.values()):
            self._finish(run)

    def _restarts(self, run: Run, state: ContainerState) -> bool:
        job = run.workload.document["spec"].get("job") or {}
        return (
            bool(state.exit_code)
            and run.ended_by == "itself"
            and job.get("restartPolicy") == "OnFailure"
            and state.restarts < self._config.restart_limit
        )

    def _finish(self, run: Run) -> None:
        now_ns = self._clock.time_ns()
        run.ended_ns = now_ns
        failed = any(state.exit_code for state in run.containers.values())
        if run.ended_by == "itself" and not failed:
            run.status, stage = "successful", "completed"
            run.add_condition(
                "Complete",
                "CompletionsReached",
                "Reached expected number of succeeded pods",
                now_ns,
            )
        elif run.ended_by == "itself":
            run.status, stage = "failed", "failed"
            run.add_condition(
                "Failed",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
                now_ns,
            )
        elif run.ended_by == "deadline":
            run.status, stage = self._config.deadline_status, "failed"
            run.add_condition(
                "Failed",
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
                now_ns,
            )
        elif run.ended_by == "stop":
            run.status, stage = "failed", self._config.final_stage_after_stop
            run.add_condition("Failed", "BackoffLimitExceeded", "The replica was stopped", now_ns)
        else:
            run.status, stage = "removed", "cancelled"
        self._settle(run, stage)
        logger.debug("run %s ended as %s at %s", run.name, run.status, ns_to_datetime(now_ns))

    def _settle(self, run: Run, stage: str) -> None:
        for timer in run.timers:
            timer.cancel()
        run.timers.clear()
        if run.command is not None:
            self._commands.update(run.command, stage)
        for stop in run.stops:
            self._commands.update(stop, "completed")
        if run.spec is not None:
            self._authentication.revoke_workload_token(run.spec.env["CPLN_TOKEN"])
        self._network.dismiss(run)
        self._deployments.trim(run)

    def _message(self, run: Run, message: str) -> None:
        if run.command is not None:
            self._commands.update(run.command, message=message)


class _Events:
    """Passes on what an executor reports on one container of one run."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        run: Run,
        state: ContainerState,
        logs: Logs,
        config: PlatformConfig,
    ) -> None:
        self._lifecycle = lifecycle
        self._run = run
        self._state = state
        self._logs = logs
        self._labels = log_labels(run, state.name, config)

    def note(self, message: str) -> None:
        """Report something that the user should know; it becomes a message of the command."""
        self._lifecycle.note(self._run, message)

    def started(self) -> None:
        """Report that the first process runs."""
        self._lifecycle.container_started(self._run, self._state)

    def waiting(self, reason: str, message: str) -> None:
        """Report that the container cannot start now and keeps waiting."""
        self._lifecycle.container_waits(self._run, self._state, reason, message)

    def never_placed(self, message: str) -> None:
        """Report that no replica will be created."""
        self._lifecycle.never_placed(self._run, message)

    def wrote(self, stream: str, lines: list[str]) -> None:
        """Pass on lines that the container wrote to ``stdout`` or ``stderr``."""
        self._logs.write(self._logs.stream({**self._labels, "stream": stream}), lines)

    def ended(self, exit_code: int, reason: str, message: str) -> None:
        """Report, as the last call, that the container has ended and nothing of it is left."""
        self._lifecycle.container_ended(self._run, self._state, exit_code, reason, message)
