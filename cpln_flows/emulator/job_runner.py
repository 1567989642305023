"""Run one execution of a cron workload: start its containers, restart them, end it.

When an execution begins and is stopped is decided elsewhere (``lifecycle``). Everything is called
in the platform's event loop and does its work immediately; later events come from the clock or the
executor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.authentication import Authentication
from cpln_flows.emulator.clock import Clock, ns_to_datetime
from cpln_flows.emulator.commands import Commands
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.containers import (
    UNAVAILABLE_RETRY_SECONDS,
    Access,
    ContainerBuilder,
    UnavailableError,
)
from cpln_flows.emulator.deployments import Deployments
from cpln_flows.emulator.executors.base import Executor
from cpln_flows.emulator.executors.hooks import start_with_hooks
from cpln_flows.emulator.logs import Logs
from cpln_flows.emulator.placement import grace_seconds, log_labels
from cpln_flows.emulator.runs import ContainerState, Run
from cpln_flows.emulator.serving import restarts
from cpln_flows.emulator.serving.network import Network

logger: logging.Logger = logging.getLogger(__name__)


class JobRunner:
    """Runs executions.

    Attributes:
        started_runs: The number of those that have begun.
    """

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
        self._network = network
        self._closed = False
        self.started_runs: int = 0

    def close(self) -> None:
        """Begin no further execution, and start no container again."""
        self._closed = True

    def later(self, run: Run, seconds: float, call: Callable[[], None]) -> None:
        """Call back after some seconds, unless the execution has ended by then."""
        run.timers.append(self._clock.call_later(seconds, call))

    def begin(self, run: Run, endpoint: str) -> None:
        """Start the containers of an execution, or try again later if that is not possible.

        Args:
            run: The execution.
            endpoint: Address of the API that its containers get.
        """
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
            self.later(run, UNAVAILABLE_RETRY_SECONDS, lambda: self.begin(run, endpoint))
            return
        run.containers = {each.name: ContainerState.of(each) for each in run.spec.containers}
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
            self.later(run, seconds, lambda: self._deadline_passed(run))

    def _deadline_passed(self, run: Run) -> None:
        if run.is_over:
            return
        now_ns = self._clock.time_ns()
        message = "Job was active longer than specified deadline"
        run.add_condition("FailureTarget", "DeadlineExceeded", message, now_ns)
        self._message(run, f"DeadlineExceeded: {message}")
        if run.ended_by == "itself":
            run.ended_by = "deadline"
        self.terminate(run)

    def terminate(self, run: Run) -> None:
        """Send SIGTERM now, and kill everything after the grace period."""
        for handle in run.handles():
            handle.terminate()
        self.later(run, grace_seconds(run, self._config), lambda: self.kill(run))
        self._end_waiting(run)

    def kill(self, run: Run) -> None:
        """Kill everything that runs in an execution."""
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
            state.restarts += 1
            # Other than the first restart of a serving workload, none of a job is immediate.
            delay = restarts.delay_seconds(state.restarts, self._config.restart_delay_seconds)
            self.later(run, delay, lambda: self._start_container(run, state))
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
        runner: JobRunner,
        run: Run,
        state: ContainerState,
        logs: Logs,
        config: PlatformConfig,
    ) -> None:
        self._runner = runner
        self._run = run
        self._state = state
        self._logs = logs
        self._labels = log_labels(run, state.name, config)

    def note(self, message: str) -> None:
        """Report something that the user should know; it becomes a message of the command."""
        self._runner.note(self._run, message)

    def started(self) -> None:
        """Report that the first process runs."""
        self._runner.container_started(self._run, self._state)

    def waiting(self, reason: str, message: str) -> None:
        """Report that the container cannot start now and keeps waiting."""
        self._runner.container_waits(self._run, self._state, reason, message)

    def never_placed(self, message: str) -> None:
        """Report that no replica will be created."""
        self._runner.never_placed(self._run, message)

    def wrote(self, stream: str, lines: list[str]) -> None:
        """Pass on lines that the container wrote to ``stdout`` or ``stderr``."""
        self._logs.write(self._logs.stream({**self._labels, "stream": stream}), lines)

    def ended(self, exit_code: int, reason: str, message: str) -> None:
        """Report, as the last call, that the container has ended and nothing of it is left."""
        self._runner.container_ended(self._run, self._state, exit_code, reason, message)
