"""How a job ended, read off the platform's answers. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.resources import Command, JobContainer, JobExecution

_SIGNALLED = 128


@dataclass(frozen=True)
class Ending:
    """The end of a job: its stage, and what is known of the main container."""

    stage: str
    exit_code: int | None = None
    reason: str | None = None
    messages: tuple[str, ...] = ()
    stopped_by_us: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the main container did what it should."""
        return self.stage == Stage.COMPLETED

    def describe(self) -> str:
        """Say in words how it ended, as far as it is known."""
        return ", ".join([f"the platform says {self.stage}", *self._known()])

    @property
    def cause(self) -> str:
        """Why it ended, in words: exit code, reason and what else the platform says, each once."""
        return ", ".join(self._known()) or f"the platform says {self.stage} and not why"

    def _known(self) -> list[str]:
        said = [] if self.exit_code is None else [f"exit code {self.exit_code}{_signal_of(self.exit_code)}"]
        said += [f"reason {self.reason}"] if self.reason else []
        return said + [message for message in self.messages if not self._is_said(message)]

    def _is_said(self, message: str) -> bool:
        """Whether a message only repeats the exit code or another message, or says that the platform does not try again."""
        if any(message in other for other in self.messages if other != message):
            return True
        known = self.exit_code is not None
        return known and (message.endswith(f"exit code {self.exit_code}") or "backoff limit" in message)


def ending_of(command: Command, execution: JobExecution | None, main: str) -> Ending:
    """Put together what a command and its execution say about the end.

    Args:
        command: The command, in a terminal stage.
        execution: The execution, if the platform still lists it.
        main: Name of the main container.
    """
    container = execution.containers.get(main) if execution else None
    conditions = [condition for condition in execution.conditions if condition.reason] if execution else []
    reason = next((c.reason for c in conditions), None) or (container.restarts.reason if container else None)
    exit_code = container.restarts.exit_code if container else None
    if exit_code is None and command.lifecycle_stage == Stage.COMPLETED:
        exit_code = 0
    messages = [_text(message) for message in command.status.messages]
    messages += [condition.message for condition in conditions if condition.message]
    messages += _container_messages(container)
    return Ending(command.lifecycle_stage, exit_code, reason, tuple(dict.fromkeys(filter(None, messages))))


def waiting_for(command: Command | None, execution: JobExecution | None) -> str:
    """Say what a job that does not get on waits for, as far as the platform tells it: an image, room, a secret.

    Args:
        command: The command, if it was read.
        execution: The execution, if the platform lists it.
    """
    said = [_text(message) for message in command.status.messages] if command else []
    for condition in execution.conditions if execution else []:
        said += [": ".join(filter(None, (condition.reason, condition.message)))]
    for name, container in (execution.containers if execution else {}).items():
        said += [f"container {name}: {container.message}"] if container.message and not container.ready else []
    return "; ".join(dict.fromkeys(filter(None, said)))


def main_ended(execution: JobExecution | None, main: str, *, restarts: bool = False) -> JobContainer | None:
    """Return the main container if it has ended for good, whatever the other containers do.

    Args:
        execution: The execution, if it was read.
        main: Name of the main container.
        restarts: Whether the platform starts a container again that has failed.
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
