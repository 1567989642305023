"""The interface between the platform and an executor, in both directions. No implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Mount:
    """One volume of a container.

    Without files, text, scratch space and volumeset, the volume is not available.

    Attributes:
        path: The path at which the container finds it.
        uri: The URI that identifies it.
        files: The contents of its files by name, if it is a folder of a secret.
        text: Its contents, if it is one file of a secret.
        scratch: Name of the scratch space, if it is one.
        volumeset: Folder of the volume among those of its GVC's volumesets, if it is one.
    """

    path: str
    uri: str
    files: Mapping[str, str] | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    scratch: str | None = None
    volumeset: str | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """One container as it runs, with the overrides merged in and every variable resolved.

    ``post_start`` and ``pre_stop`` are the commands of its lifecycle hooks.
    """

    name: str
    image: str
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    cpu: str = "50m"
    memory: str = "128Mi"
    mounts: tuple[Mount, ...] = ()
    post_start: tuple[str, ...] = ()
    pre_stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a running container, as a probe asks it.

    Attributes:
        kind: A request, a gRPC health check, a connection, or a command in the container.
        port: The port, unless it is a command.
        path: Path of the request.
        scheme: ``http`` or ``https``.
        headers: Further headers of the request.
        command: The command, and its arguments.
        timeout_seconds: Time after which the check has failed.
    """

    kind: Literal["http", "grpc", "tcp", "exec"]
    port: int | None = None
    path: str = "/"
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    command: tuple[str, ...] = ()
    timeout_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run of a cron workload or one replica of another, as an executor sees it.

    Attributes:
        workload: Bare name of the workload.
        gvc: Bare name of its GVC.
        org: Bare name of the organization.
        location: Bare name of the location.
        name: Name of the execution (``command-<id>`` for a run on demand), or of the replica.
        command_id: Id of the command that started it; ``None`` for anything else.
        replica: Name of the replica.
        tags: The command's tags.
        containers: The containers; the main container comes first.
        attempt: Number of restarts of the container that is being started.
        key: What no other run on this machine has; the replica's name if it is empty.
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
    key: str = ""

    @property
    def env(self) -> Mapping[str, str]:
        """The main container's variables."""
        return self.containers[0].env


class ContainerEvents(Protocol):
    """Callbacks by which an executor reports on one container, in the platform's event loop."""

    def note(self, message: str) -> None:
        """Report something that the user should know; it becomes a message of the command."""

    def started(self) -> None:
        """Report that the first process runs."""

    def waiting(self, reason: str, message: str) -> None:
        """Report that the container cannot start now and keeps waiting."""

    def never_placed(self, message: str) -> None:
        """Report that no replica will be created."""

    def wrote(self, stream: str, lines: list[str]) -> None:
        """Pass on lines that the container wrote to ``stdout`` or ``stderr``."""

    def ended(self, exit_code: int, reason: str, message: str) -> None:
        """Report, as the last call, that the container has ended and nothing of it is left."""


class Handle(Protocol):
    """One running container."""

    def terminate(self) -> None:
        """Ask its first process to terminate."""

    def kill(self) -> None:
        """Kill everything that runs in it."""

    async def wait_gone(self) -> None:
        """Wait until nothing of it is left; from any event loop."""

    async def check(self, check: Check) -> str | None:
        """Answer a probe: ``None``, or why it failed."""

    async def execute(self, command: Sequence[str], wrote: Callable[[list[str]], None]) -> int:
        """Run a command in the container to its end; when canceled, kill what it has started.

        Args:
            command: The command, and its arguments; at least one word.
            wrote: Called with lines of its output.

        Returns:
            The exit code, as a shell shows it.

        Raises:
            OSError: It cannot be started.
        """


class Executor(Protocol):
    """Runs containers."""

    def start(self, run: RunSpec, container: Container, events: ContainerEvents) -> Handle:
        """Begin one container of a run; return immediately."""
