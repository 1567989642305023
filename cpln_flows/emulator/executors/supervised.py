"""A container that is a supervised tree of processes, and commands that run in it."""

from __future__ import annotations

import asyncio
import errno
import itertools
import marshal
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cpln_flows.emulator.executors.base import Check, ContainerEvents
from cpln_flows.emulator.executors.checks import command_fails, connects
from cpln_flows.emulator.executors.mounts import Orders
from cpln_flows.emulator.executors.script import describe_exit
from cpln_flows.emulator.lines import LineSplitter

START_ERROR = 128
_KILLED = 137
_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_CHUNK = 1 << 16
_OUTPUT_GRACE_SECONDS = 1.0
_GONE_SECONDS = 10.0

Program = tuple[list[str], dict[str, str], str]
"""Words of a command, variables, and working folder."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a supervisor is to run."""

    program: Program
    mounted: Program
    binds: list[tuple[str, str]]
    mounts: Orders
    mapped: Callable[[str], str]

    def beside(self, command: Sequence[str], home: str) -> Order:
        """Return the order for a command in the same container.

        Args:
            command: The command, and its arguments.
            home: The container's own folder.
        """
        _, env, folder = _at_home(self.program, home)
        _, mounted_env, mounted_folder = _at_home(self.mounted, home)
        return Order(
            program=([self.mapped(word) for word in command], env, folder or home),
            mounted=(list(command), mounted_env, mounted_folder or home),
            binds=self.binds,
            # Who uses the scratch space of a replica last deletes it.
            mounts=[each for each in self.mounts if each[0] == "scratch"],
            mapped=self.mapped,
        )


class SupervisedProcess:
    """One container that is a supervised tree of processes."""

    def __init__(self, wanted: Order, home: Path, events: ContainerEvents) -> None:
        self._loop = asyncio.get_running_loop()
        self._events = events
        self._order = wanted
        self._argv = wanted.program[0]
        self._commands: set[SupervisedProcess] = set()
        self._numbers = itertools.count()
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
        for command in self._commands:
            command.kill()
        self._send(b"kill\n")

    async def wait_gone(self) -> None:
        """Wait until nothing of it is left; from any event loop."""
        for command in list(self._commands):
            await command.wait_gone()
        await asyncio.to_thread(self._process.wait, _GONE_SECONDS)
        self._end = self._end or (_KILLED, "Error", describe_exit(_KILLED))
        self._finish(late=True)

    async def check(self, check: Check) -> str | None:
        """Answer a probe: ``None``, or why it failed."""
        if check.kind != "exec":
            return await connects(check)
        return await command_fails(self.execute, check.command, check.timeout_seconds)

    async def execute(self, command: Sequence[str], wrote: Callable[[list[str]], None]) -> int:
        """Run a command in the container to its end; when canceled, kill what it has started."""
        if self._over:
            raise ProcessLookupError(f"{command[0]!r} cannot be run: the container has ended")
        events = _CommandEvents(wrote)
        running = SupervisedProcess(
            self._order.beside(command, str(self._home)),
            self._home.with_name(f"{self._home.name}-exec-{next(self._numbers)}"),
            events,
        )
        self._commands.add(running)
        try:
            return await events.code
        finally:
            self._commands.discard(running)
            if not events.code.done() or events.code.cancelled():
                running.kill()
                await running.wait_gone()

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
        for command in self._commands:
            command.kill()
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


class _CommandEvents:
    """Takes the output and the end of a command that runs in a container."""

    def __init__(self, wrote: Callable[[list[str]], None]) -> None:
        self._wrote = wrote
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def note(self, message: str) -> None:
        """Report something that the user should know."""

    def started(self) -> None:
        """Report that the first process runs."""

    def waiting(self, reason: str, message: str) -> None:
        """Report that the container cannot start now and keeps waiting."""

    def never_placed(self, message: str) -> None:
        """Report that no replica will be created."""

    def wrote(self, stream: str, lines: list[str]) -> None:  # noqa: ARG002 - both are shown
        """Pass on lines that the command wrote."""
        self._wrote(lines)

    def ended(self, exit_code: int, reason: str, message: str) -> None:
        """Report that the command has ended."""
        if self.code.done():
            return
        if reason == "StartError":
            self.code.set_exception(OSError(message))
        else:
            self.code.set_result(exit_code)


def _at_home(program: Program, home: str) -> Program:
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
