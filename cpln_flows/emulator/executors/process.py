"""Run containers as real processes of this machine, each under its own supervisor.

Differences from a real container: the image is recorded, not pulled; the file system and the
network are the machine's; SIGTERM ends a first process without a handler, while process 1 of a
container would ignore it; CPU and memory are not limited; there are no probes and lifecycle hooks;
volumes are folders of the machine (``mounts``).
"""

from __future__ import annotations

import asyncio
import errno
import marshal
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cpln_flows.emulator.executors.base import Container, ContainerEvents, Handle, RunSpec
from cpln_flows.emulator.executors.mounts import Orders, Places
from cpln_flows.emulator.executors.script import describe_exit
from cpln_flows.emulator.lines import LineSplitter

START_ERROR = 128
_KILLED = 137
SCRATCH = "-scratch"
_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_CHUNK = 1 << 16
_OUTPUT_GRACE_SECONDS = 1.0
_GONE_SECONDS = 10.0
_INTERPRETERS = ("python", "python3")


class ProcessExecutor:
    """Runs containers as processes.

    Needs a running event loop that can watch file descriptors.

    Args:
        path: The search path for programs. Default: that of this process.
        namespaces: Whether volumes may be shown at the paths that a container names, in a private
            file system, if the machine allows that.
    """

    def __init__(self, *, path: Sequence[str] | None = None, namespaces: bool = True) -> None:
        # The search path is the only thing of the machine that a container needs here: its own
        # programs are in the image, which is not pulled. The interpreter's folder comes first, for
        # "python" and the programs installed beside it.
        self._volumesets: Path | None = None
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
            order = _Order(
                program=self._program(seen, argv, places.mapped_variables),
                mounted=self._program(
                    container, _argv(container) or argv, places.mounted_variables
                ),
                binds=places.binds if self._namespaces and not places.hides(_needed()) else [],
                mounts=places.orders,
            )
            return _Process(order, _home(run, container), events)
        except OSError as error:
            return _NeverRan(events, f"the machine cannot start another process: {error}")

    def _places(self, run: RunSpec, container: Container) -> Places:
        if any(mount.volumeset for mount in container.mounts) and self._volumesets is None:
            self._volumesets = Path(tempfile.mkdtemp(prefix="cpln-volumesets-"))
            weakref.finalize(self, shutil.rmtree, self._volumesets, ignore_errors=True)
        shared = self._volumesets or Path(tempfile.gettempdir())
        home = _home(run, container)
        return Places(
            container.mounts, home=home, scratch=_scratch(run), volumesets=shared / run.gvc
        )

    def _program(
        self, container: Container, argv: list[str], variables: Mapping[str, str]
    ) -> _Program:
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


_Program = tuple[list[str], dict[str, str], str]
"""Words of a command, variables, and working folder."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What a supervisor is to run."""

    program: _Program
    mounted: _Program
    binds: list[tuple[str, str]]
    mounts: Orders


def _home(run: RunSpec, container: Container) -> Path:
    """Return the folder of one container, which is deleted with it."""
    return Path(tempfile.gettempdir()) / f"cpln-{run.replica}-{container.name}-{run.attempt}"


def _scratch(run: RunSpec) -> Path:
    """Return the folder that the containers of a replica share; the last of them deletes it."""
    return Path(tempfile.gettempdir()) / f"cpln-{run.replica}{SCRATCH}"


class _Process:
    """One container that is a supervised tree of processes."""

    def __init__(self, wanted: _Order, home: Path, events: ContainerEvents) -> None:
        self._loop = asyncio.get_running_loop()
        self._events = events
        self._argv = wanted.program[0]
        self._end: tuple[int, str, str] | None = None
        self._started = False
        self._over = False
        self._open: set[int] = set()
        self._home = home
        temporary = str(home)
        order = {
            "program": _at_home(wanted.program, temporary),
            "mounted": _at_home(wanted.mounted, temporary),
            "binds": wanted.binds,
            "home": temporary,
            "mounts": wanted.mounts,
            "parent": os.getpid(),
        }
        self._process, report = self._launch()
        self._send(_framed(order))
        self._watch_reports(report)

    def terminate(self) -> None:
        """Ask its first process to terminate."""
        self._send(b"term\n")

    def kill(self) -> None:
        """Kill everything that runs in it."""
        self._send(b"kill\n")

    async def wait_gone(self) -> None:
        """Wait until nothing of it is left; from any event loop."""
        await asyncio.to_thread(self._process.wait, _GONE_SECONDS)
        self._end = self._end or (_KILLED, "Error", describe_exit(_KILLED))
        self._finish(late=True)

    def _launch(self) -> tuple[subprocess.Popen[bytes], int]:
        report, reporting = os.pipe()
        outputs = [os.pipe() for _ in range(2)]
        try:
            process = subprocess.Popen(  # noqa: S603 - the user chose what it runs
                [sys.executable, "-I", "-S", str(_SUPERVISOR), str(reporting)],
                stdin=subprocess.PIPE,
                stdout=outputs[0][1],
                stderr=outputs[1][1],
                pass_fds=(reporting,),
                env={},
                # A signal from a key in the user's terminal is not meant for the containers.
                start_new_session=True,
            )
        except OSError:
            for descriptor in (report, *(reading for reading, _ in outputs)):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (reporting, *(writing for _, writing in outputs)):
                os.close(descriptor)
        for (reading, _), name in zip(outputs, ("stdout", "stderr"), strict=True):
            self._watch_output(reading, name)
        return process, report

    def _watch_output(self, descriptor: int, name: str) -> None:
        splitter = LineSplitter()

        def take(data: bytes) -> None:
            lines = splitter.feed(data) if data else splitter.finish()
            if lines:
                # Its first output may arrive before the report that it runs.
                self._tell_started()
                self._events.wrote(name, lines)

        self._watch(descriptor, take)

    def _watch_reports(self, descriptor: int) -> None:
        pending = bytearray()

        def take(data: bytes) -> None:
            pending.extend(data)
            while b"\n" in pending:
                line, _, rest = pending.partition(b"\n")
                pending[:] = rest
                self._reported(line.decode())
            if not data:
                self._reported("lost")

        self._watch(descriptor, take)

    def _watch(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        os.set_blocking(descriptor, False)
        self._open.add(descriptor)

        def readable() -> None:
            try:
                data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._close(descriptor)
            take(data)
            self._finish()

        self._loop.add_reader(descriptor, readable)

    def _close(self, descriptor: int) -> None:
        if descriptor not in self._open:
            return
        self._open.discard(descriptor)
        if not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
        os.close(descriptor)

    def _tell_started(self) -> None:
        if not self._started:
            self._started = True
            self._events.started()

    def _reported(self, line: str) -> None:
        word, _, value = line.partition(" ")
        if word == "started":
            self._tell_started()
        elif word == "failed":
            self._end = (START_ERROR, "StartError", _start_message(self._argv[0], int(value)))
        elif word == "exited":
            code = int(value)
            self._end = (code, "Error" if code else "Completed", describe_exit(code))
        elif self._end is None:
            self._end = (
                START_ERROR,
                "ContainerStatusUnknown",
                "the process that supervises the container is gone",
            )
            shutil.rmtree(self._home, ignore_errors=True)
        self._loop.call_later(_OUTPUT_GRACE_SECONDS, lambda: self._finish(late=True))

    def _finish(self, *, late: bool = False) -> None:
        """Report the end once all output has been read, at most a second after the end."""
        if self._end is None or self._over or (self._open and not late):
            return
        self._over = True
        for descriptor in list(self._open):
            self._close(descriptor)
        self._hang_up()
        self._process.wait()
        self._events.ended(*self._end)

    def _send(self, content: bytes) -> None:
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return
        try:
            stdin.write(content)
            stdin.flush()
        except OSError:
            # The supervisor has ended; its report is on its way.
            return

    def _hang_up(self) -> None:
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return
        try:
            stdin.close()
        except OSError:
            return


def _at_home(program: _Program, home: str) -> _Program:
    """Return a program with its home.

    TMPDIR is the same folder, so that one folder holds whatever the container leaves behind.
    """
    argv, env, folder = program
    return argv, {"HOME": home, "TMPDIR": home, **env}, folder


def _framed(order: dict[str, object]) -> bytes:
    content = marshal.dumps(order)
    return f"{len(content)}\n".encode() + content


def _start_message(program: str, number: int) -> str:
    reasons = {
        errno.ENOENT: "executable file not found in $PATH"
        if os.sep not in program
        else "no such file or directory",
        errno.EACCES: "permission denied",
        errno.ENOEXEC: "exec format error",
    }
    reason = reasons.get(number, os.strerror(number))
    return f"failed to start the container: exec: {program!r}: {reason}"
