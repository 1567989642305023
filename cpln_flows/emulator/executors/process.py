"""Run containers as real processes of this machine, each under its own supervisor.

Differences from a real container: the image is recorded, not pulled; the file system and the
network are the machine's; SIGTERM ends a first process without a handler, while process 1 of a
container would ignore it; CPU and memory are not limited; volumes are folders of the machine
(``mounts``).
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cpln_flows.emulator.executors.base import Check, Container, ContainerEvents, Handle, RunSpec
from cpln_flows.emulator.executors.mounts import Places
from cpln_flows.emulator.executors.supervised import START_ERROR, Order, Program, SupervisedProcess
from cpln_flows.emulator.executors.volumesets import Volumesets

SCRATCH = "-scratch"
_INTERPRETERS = ("python", "python3")


class ProcessExecutor:
    """Runs containers as processes.

    Needs a running event loop that can watch file descriptors.

    Args:
        path: The search path for programs. Default: that of this process.
        namespaces: Whether volumes may be shown at the paths that a container names, in a private
            file system, if the machine allows that.
        volumesets: Folder for volumesets. Default: a temporary one, unless a platform has a state
            folder.
    """

    def __init__(
        self,
        *,
        path: Sequence[str] | None = None,
        namespaces: bool = True,
        volumesets: Path | None = None,
    ) -> None:
        # The search path is the only thing of the machine that a container needs here: its own
        # programs are in the image, which is not pulled. The interpreter's folder comes first, for
        # "python" and the programs installed beside it.
        self.volumesets: Volumesets = Volumesets(volumesets)
        self._namespaces = namespaces
        folders = os.get_exec_path() if path is None else path
        self._path = os.pathsep.join([str(Path(sys.executable).parent), *folders])

    def start(self, run: RunSpec, container: Container, events: ContainerEvents) -> Handle:
        """Begin one container of a run; return immediately."""
        places = self._places(run, container)
        # What this platform adds, including the interpreter's path, is the machine's and stays.
        seen = replace(
            container,
            command=container.command and places.mapped(container.command),
            args=tuple(map(places.mapped, container.args)),
            env={name: places.mapped(value) for name, value in container.env.items()},
            working_dir=container.working_dir and places.mapped(container.working_dir),
        )
        argv = _argv(seen)
        if argv is None:
            message = (
                "no command is given, and the local platform does not read what image"
                f" {container.image!r} would run: set command (and args)"
            )
            return _NeverRan(events, message)
        for uri in places.absent:
            events.note(
                f"container {container.name}: the volume {uri}"
                " is not available on the local platform"
            )
        if (
            seen.working_dir
            and seen.working_dir == container.working_dir
            and not Path(seen.working_dir).is_dir()
        ):
            events.note(
                f"container {container.name}: workingDir {container.working_dir!r}"
                " does not exist on this machine; the container starts in a folder of its own"
            )
        try:
            order = Order(
                program=self._program(seen, argv, places.mapped_variables),
                mounted=self._program(
                    container, _argv(container) or argv, places.mounted_variables
                ),
                binds=places.binds if self._namespaces and not places.hides(_needed()) else [],
                mounts=places.orders,
                mapped=places.mapped,
            )
            return SupervisedProcess(order, _home(run, container), events)
        except OSError as error:
            return _NeverRan(events, f"the machine cannot start another process: {error}")

    def _places(self, run: RunSpec, container: Container) -> Places:
        home = _home(run, container)
        has_volumesets = any(mount.volumeset for mount in container.mounts)
        volumesets = self.volumesets.folder(run.org, run.gvc) if has_volumesets else home
        return Places(container.mounts, home=home, scratch=_scratch(run), volumesets=volumesets)

    def _program(
        self, container: Container, argv: list[str], variables: Mapping[str, str]
    ) -> Program:
        return (
            argv,
            {**self._environment(container, argv), **variables},
            container.working_dir or "",
        )

    def _environment(self, container: Container, argv: list[str]) -> dict[str, str]:
        env = {"PATH": self._path, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        if argv[0] == sys.executable:
            # The lines of a job should appear while it runs, as in a terminal. Any other program
            # decides about buffering itself, as in a container.
            env["PYTHONUNBUFFERED"] = "1"
        return {**env, **container.env}


def _argv(container: Container) -> list[str] | None:
    """Return what to run.

    Most images run their arguments if no command is given, so then the first argument is the
    program.
    """
    words = [*([container.command] if container.command else []), *container.args]
    if not words:
        return None
    if words[0] in _INTERPRETERS:
        words[0] = sys.executable
    return words


def _needed() -> set[str]:
    """Return what every program needs: the interpreter, and the folder for temporary files."""
    return {
        sys.executable,
        os.path.realpath(sys.executable),
        sys.prefix,
        sys.base_prefix,
        tempfile.gettempdir(),
    }


class _NeverRan:
    """A container that cannot be started at all."""

    def __init__(self, events: ContainerEvents, message: str) -> None:
        asyncio.get_running_loop().call_soon(events.ended, START_ERROR, "StartError", message)

    def terminate(self) -> None:
        """Ask its first process to terminate."""

    def kill(self) -> None:
        """Kill everything that runs in it."""

    async def wait_gone(self) -> None:
        """Wait until nothing of it is left; from any event loop."""

    async def check(self, check: Check) -> str | None:
        """Answer a probe: ``None``, or why it failed."""
        return f"no {check.kind} probe can be made: the container does not run"

    async def execute(
        self,
        command: Sequence[str],
        wrote: Callable[[list[str]], None],  # noqa: ARG002 - nothing is written
    ) -> int:
        """Refuse a command: there is no container in which it could run."""
        raise ProcessLookupError(f"{command[0]!r} cannot be run: the container does not run")


def _home(run: RunSpec, container: Container) -> Path:
    """Return the folder of one container, which is deleted with it."""
    name = f"{run.key or run.replica}-{container.name}-{run.attempt}"
    return Path(tempfile.gettempdir()) / f"cpln-{name}"


def _scratch(run: RunSpec) -> Path:
    """Return the folder that the containers of a replica share; the last of them deletes it."""
    return Path(tempfile.gettempdir()) / f"cpln-{run.key or run.replica}{SCRATCH}"
