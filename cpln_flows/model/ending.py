"""Derive how a job ended from the platform's answers. Pure.

The end of the main container is the end of the job, whatever its sidecars do and whenever we look.
If a sidecar fails while the job is being cleaned up, the platform reports a job as failed although
it has done its work. Only a stop and a deadline outweigh the main container's exit code, because a
program that handles SIGTERM may well exit with 0 then.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from typing import Any

from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.resources import Command, JobContainer, JobExecution

_SIGNALLED = 128
_DEADLINE = "DeadlineExceeded"
# What the job controller reports when it gives up; the actual cause lies in the container.
_GAVE_UP = frozenset(
    {"BackoffLimitExceeded", "PodFailurePolicy", "MaxFailedIndexesExceeded", "FailedIndexes"}
)
_EXECUTION_STAGES = {"successful": Stage.COMPLETED, "failed": Stage.FAILED}


@dataclass(frozen=True)
class Ending:
    """The end of a job: its stage, and what is known about the main container."""

    stage: str
    exit_code: int | None = None
    reason: str | None = None
    messages: tuple[str, ...] = ()
    stopped_by_us: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the main container succeeded."""
        return self.stage == Stage.COMPLETED

    def describe(self) -> str:
        """Describe how the job ended, as far as it is known."""
        return ", ".join([f"the platform reports {self.stage}", *self._known()])

    @property
    def cause(self) -> str:
        """Why the job ended: exit code, reason and the platform's messages, each once."""
        return ", ".join(self._known()) or f"the platform reports {self.stage} without a reason"

    def _known(self) -> list[str]:
        said = (
            []
            if self.exit_code is None
            else [f"exit code {self.exit_code}{_signal_of(self.exit_code)}"]
        )
        said += [f"reason {self.reason}"] if self.reason else []
        return said + [message for message in self.messages if not self._is_said(message)]

    def _is_said(self, message: str) -> bool:
        """Whether a message adds nothing.

        Such a message repeats the exit code or another message, or only reports that the platform
        does not retry.
        """
        if any(message in other for other in self.messages if other != message):
            return True
        known = self.exit_code is not None
        return known and (
            message.endswith(f"exit code {self.exit_code}") or "backoff limit" in message
        )


def ending_of(command: Command, execution: JobExecution | None, main: str) -> Ending:
    """Combine what a command and its execution report about the end.

    Args:
        command: The command, in a terminal stage.
        execution: The execution, if the platform still lists it.
        main: Name of the main container.
    """
    container = execution.containers.get(main) if execution else None
    stage, reason = _stage(command.lifecycle_stage, execution, main), _reason(execution, container)
    messages = [_text(message) for message in command.status.messages]
    messages += _condition_messages(execution) + _container_messages(container)
    return Ending(
        stage, _exit_code(stage, container), reason, tuple(dict.fromkeys(filter(None, messages)))
    )


def _stage(stage: str, execution: JobExecution | None, main: str) -> str:
    if (
        stage != Stage.FAILED
        or execution is None
        or len(execution.containers) == 1
        or _is_late(execution)
    ):
        return stage
    container = execution.containers.get(main)
    return (
        Stage.COMPLETED
        if container and container.has_ended and container.restarts.exit_code == 0
        else stage
    )


def _is_late(execution: JobExecution) -> bool:
    return any(condition.reason == _DEADLINE for condition in execution.conditions)


def _exit_code(stage: str, container: JobContainer | None) -> int | None:
    """Return the exit code, unless it contradicts the end: a stopped job may have exited with 0."""
    if stage == Stage.COMPLETED:
        return 0
    return (container.restarts.exit_code or None) if container else None


def _reason(execution: JobExecution | None, container: JobContainer | None) -> str | None:
    """Return the cause: the deadline, else the container's reason, else the controller's."""
    given = (
        [condition.reason for condition in execution.conditions if condition.reason]
        if execution
        else []
    )
    if _DEADLINE in given:
        return _DEADLINE
    if container and container.restarts.reason:
        return container.restarts.reason
    told = container is not None and container.restarts.exit_code is not None
    return next((reason for reason in given if reason not in _GAVE_UP or not told), None)


def waiting_for(command: Command | None, execution: JobExecution | None) -> str:
    """Describe what a stalled job is waiting for, as far as the platform reports it.

    Typical causes are an image, capacity or a secret.

    Args:
        command: The command, if it was read.
        execution: The execution, if the platform lists it.
    """
    said = [_text(message) for message in command.status.messages] if command else []
    for condition in execution.conditions if execution else []:
        said += [": ".join(filter(None, (condition.reason, condition.message)))]
    for name, container in (execution.containers if execution else {}).items():
        said += (
            [f"container {name}: {container.message}"]
            if container.message and not container.ready
            else []
        )
    return "; ".join(dict.fromkeys(filter(None, said)))


def main_ended(
    execution: JobExecution | None, main: str, *, restarts: bool = False
) -> JobContainer | None:
    """Return the main container if it has ended for good, whatever the other containers do.

    Args:
        execution: The execution, if it was read.
        main: Name of the main container.
        restarts: Whether the platform restarts a failed container.
    """
    container = execution.containers.get(main) if execution else None
    if container is None or not container.has_ended:
        return None
    return None if restarts and container.restarts.exit_code != 0 else container


def main_ending(container: JobContainer) -> Ending:
    """Return the end of a job whose main container has ended while a sidecar still runs."""
    code = container.restarts.exit_code
    stage = Stage.COMPLETED if code == 0 else Stage.FAILED
    return Ending(stage, code, container.restarts.reason, tuple(_container_messages(container)))


def forgotten_ending(
    execution: JobExecution | None, main: str, *, restarts: bool = False
) -> Ending | None:
    """Return the end of a job whose command the platform no longer shows.

    Args:
        execution: The execution, if the platform lists it.
        main: Name of the main container.
        restarts: Whether the platform restarts a failed container.

    Returns:
        The end, or ``None`` while the execution is active.
    """
    stage = _EXECUTION_STAGES.get(execution.status) if execution else None
    container = main_ended(execution, main, restarts=restarts and stage is None)
    if container is not None:
        return replace(main_ending(container), reason=_reason(execution, container))
    if stage is None:
        return None
    return Ending(
        stage,
        0 if stage == Stage.COMPLETED else None,
        _reason(execution, None),
        tuple(_condition_messages(execution)),
    )


def _condition_messages(execution: JobExecution | None) -> list[str]:
    conditions = execution.conditions if execution else []
    return [condition.message for condition in conditions if condition.reason and condition.message]


def _container_messages(container: JobContainer | None) -> list[str]:
    if container is None:
        return []
    return [text for text in (container.message, container.restarts.message) if text]


def _signal_of(exit_code: int) -> str:
    number = exit_code - _SIGNALLED if exit_code > _SIGNALLED else -exit_code
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


def _text(message: Any) -> str:
    return str(message.get("message", message)) if isinstance(message, dict) else str(message)
