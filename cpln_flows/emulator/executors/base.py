"""What the platform asks of an executor, and what an executor tells the platform. No implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mount:
    """One volume of a container; without files, text, scratch space and volumeset it is not to be had.

    Attributes:
        path: Where the container finds it.
        uri: What it is.
        files: The texts of its files by their names, if it is a folder of a secret.
        text: Its text, if it is one file of a secret.
        scratch: Name of the scratch space that it is.
        volumeset: Name of the volumeset that it is.
    """

    path: str
    uri: str
    files: Mapping[str, str] | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    scratch: str | None = None
    volumeset: str | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """One container as it runs: the workload's, with the overrides merged in and every variable resolved."""

    name: str
    image: str
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    cpu: str = "50m"
    memory: str = "128Mi"
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run of a cron workload, as an executor sees it.

    Attributes:
        workload: Bare name of the workload.
        gvc: Bare name of its GVC.
        org: Bare name of the organisation.
        location: Bare name of the location.
        name: Name of the execution (``command-<id>`` for a run on demand).
        command_id: Id of the command that started it; ``None`` for a scheduled run.
        replica: Name of the replica.
        tags: The command's tags.
        containers: The containers, first the main one.
        attempt: 0, or the number of restarts of the container that is being started.
    """

    workload: str
    gvc: str
    org: str
    location: str
    name: str
    command_id: str | None
    replica: str
    tags: Mapping[str, object]
    containers: tuple[Container, ...]
    attempt: int = 0

    @property
    def env(self) -> Mapping[str, str]:
        """The main container's variables."""
        return self.containers[0].env


class ContainerEvents(Protocol):
    """What an executor tells about one container. Every call comes in the platform's event loop."""

    def note(self, message: str) -> None:
        """Something that the user should know; it becomes a message of the command."""

    def started(self) -> None:
        """The first process runs."""

    def waiting(self, reason: str, message: str) -> None:
        """The container cannot start now, and stays as it is."""

    def never_placed(self, message: str) -> None:
        """No replica will come to be."""

    def wrote(self, stream: str, lines: list[str]) -> None:
        """The container wrote lines to ``stdout`` or ``stderr``."""

    def ended(self, exit_code: int, reason: str, message: str) -> None:
        """The container has ended and nothing of it is left; the last call."""


class Handle(Protocol):
    """One container under way."""

    def terminate(self) -> None:
        """Ask its first process to end."""

    def kill(self) -> None:
        """End everything that runs in it."""

    async def wait_gone(self) -> None:
        """Wait until nothing of it is left; from any event loop."""


class Executor(Protocol):
    """Carries out containers."""

    def start(self, run: RunSpec, container: Container, events: ContainerEvents) -> Handle:
        """Begin one container of a run; returns at once."""
