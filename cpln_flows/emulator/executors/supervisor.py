"""The program between the platform and one container's processes.

It runs as a script and is never imported. It starts the container's first process, passes on
SIGTERM, and makes sure that nothing of the container outlives its first process, the platform or a
kill. On Linux it is the subreaper of all its descendants, so that it still finds a process that
created its own session and lost its parent; elsewhere it knows only the container's process group.
It uses only the standard library and few modules, because it starts with every container.

Channels: standard input carries a decimal length and a line end, then that many bytes of
``marshal`` (what to run), then the lines ``term`` and ``kill``. Its end means that the platform is
gone, and kills everything. Standard output and error belong to the container. The file descriptor
in the argument carries lines back: ``started``, ``failed <errno>`` and ``exited <code>``.
"""

# pathlib takes longer to load than everything else here combined, and this runs for every
# container.
# ruff: noqa: PTH100, PTH103, PTH106, PTH108, PTH112, PTH114, PTH118, PTH120, PTH123, PTH208, PTH211

import marshal
import os
import select
import signal
import sys
import time
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform.startswith("linux")
LOOK_SECONDS = 0.5
SWEEP_SECONDS = 0.002
CHUNK = 65536
STANDARD_OUTPUTS = (1, 2)
SCRATCH = "-scratch"
LINK = "link"

ProcessControl = Callable[[int, int], None]
Program = tuple[list[str], dict[str, str], str]
"""Words of a command, variables, and working folder."""


class Order:
    """The platform's order: what to run.

    ``mounted`` is the program for the case that its volumes can be shown at the paths that the
    container names. ``program`` is the same with the paths that they have on this machine.
    """

    def __init__(self, content: bytes) -> None:
        fields = marshal.loads(content)  # noqa: S302 - written by the platform itself
        self.program: Program = fields["program"]
        self.mounted: Program = fields["mounted"]
        self.binds: list[tuple[str, str]] = fields["binds"]
        self.home: str = fields["home"]
        self.root = os.path.join(self.home, "root")
        self.parent: int = fields["parent"]
        self.mounts: list[tuple[str, str, dict[str, str]]] = fields["mounts"]


class Commands:
    """The platform's commands while the container runs."""

    def __init__(self) -> None:
        self.pending: bytes = b""
        self.ended = False

    def read_order(self) -> Order | None:
        """Return the first message; ``None`` if the platform disappeared before it."""
        while b"\n" not in self.pending:
            if not self._read():
                return None
        length, _, self.pending = self.pending.partition(b"\n")
        size = int(length)
        while len(self.pending) < size:
            if not self._read():
                return None
        content, self.pending = self.pending[:size], self.pending[size:]
        return Order(content)

    def read_words(self) -> list[bytes]:
        """Return the lines that have arrived; ``kill`` if there will be no more."""
        if not self._read():
            return [b"kill"]
        return self.take_words()

    def take_words(self) -> list[bytes]:
        """Return the lines already read, some of them perhaps together with the order."""
        *words, self.pending = self.pending.split(b"\n")
        return words

    def _read(self) -> bool:
        data = os.read(0, CHUNK)
        self.pending += data
        return bool(data)


def main() -> None:
    """Run one container to its end."""
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    commands = Commands()
    order = commands.read_order()
    if order is None:
        return
    process_control = load_process_control()
    process_control(PR_SET_CHILD_SUBREAPER, 1)
    wake = wake_on_child()
    try:
        os.makedirs(order.home, 0o700)
        for kind, path, files in order.mounts:
            if kind == LINK:
                link(path, files["target"])
            else:
                mount(path, files)
        first = start(order, report, process_control)
        if first is not None:
            code = watch(first, wake, commands, order.parent)
            sweep(first)
            tell(report, f"exited {code}")
    finally:
        remove(order.home)
        remove_unused_scratch(order.mounts)


def link(path: str, target: str) -> None:
    """Show a volume's folder or file in the container's home, too."""
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    os.symlink(target, path)


def mount(folder: str, files: dict[str, str]) -> None:
    """Create a volume's folder and the files in it."""
    os.makedirs(folder, 0o700, exist_ok=True)
    for name, text in files.items():
        descriptor = os.open(
            os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
        )
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)


def remove_unused_scratch(mounts: list[tuple[str, str, dict[str, str]]]) -> None:
    """Delete the scratch space of a replica that has no containers left."""
    for scratch in {os.path.dirname(folder) for kind, folder, _ in mounts if kind == "scratch"}:
        parent, name = os.path.split(scratch)
        replica = name[: -len(SCRATCH)]
        others = [
            other
            for other in os.listdir(parent)
            if other.startswith(f"{replica}-") and other != name
        ]
        if not others:
            remove(scratch)


def tell(report: int, line: str) -> None:
    """Report to the platform."""
    try:
        os.write(report, f"{line}\n".encode())
    except OSError:
        # The platform is gone; the container ends anyway.
        return


def load_process_control() -> ProcessControl:
    """Return Linux's ``prctl`` with one argument; elsewhere, a function that does nothing."""
    if not LINUX:
        return lambda _option, _value: None
    import ctypes  # noqa: PLC0415 - slow to load, useful on Linux only

    libc = ctypes.CDLL(None)

    def process_control(option: int, value: int) -> None:
        libc.prctl(option, value, 0, 0, 0)

    return process_control


def wake_on_child() -> int:
    """Create a pipe that becomes readable when a child has ended."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return reading


def start(order: Order, report: int, process_control: ProcessControl) -> int | None:
    """Start the container's first process."""
    is_mounted = bool(order.binds) and can_mount(order)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(order, writing, process_control, is_mounted=is_mounted)
    os.close(writing)
    # Only the container may hold its outputs open: their end shows the platform that nothing more
    # can be written.
    null = os.open(os.devnull, os.O_RDWR)
    for output in STANDARD_OUTPUTS:
        os.dup2(null, output)
    failure = os.read(reading, CHUNK)
    os.close(reading)
    if failure:
        os.waitpid(pid, 0)
        tell(report, f"failed {failure.decode()}")
        return None
    tell(report, "started")
    return pid


def can_mount(order: Order) -> bool:
    """Try in a child whether this machine can show the volumes where the container names them."""
    os.makedirs(order.root, 0o700)
    pid = os.fork()
    if pid == 0:
        try:
            mount_all(order)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def mount_all(order: Order) -> None:
    """Show the volumes where the container names them, to this process only."""
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import namespace  # type: ignore[import-not-found]  # noqa: PLC0415 - few have volumes

    namespace.enter(order.binds, order.root)


def become(order: Order, failed: int, process_control: ProcessControl, *, is_mounted: bool) -> None:
    """Turn this child into the container's program; never return."""
    try:
        os.setsid()
        if is_mounted:
            mount_all(order)
        argv, env, cwd = order.mounted if is_mounted else order.program
        # If somebody kills the supervisor, at least the first process dies with it.
        process_control(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(cwd if cwd and os.path.isdir(cwd) else order.home)
        os.execvpe(argv[0], argv, env)  # noqa: S606 - running what is asked for is the purpose
    except OSError as error:
        os.write(failed, str(error.errno).encode())
    finally:
        os._exit(127)


def watch(first: int, wake: int, commands: Commands, parent: int) -> int:
    """Obey commands until the first process ends; return its exit code as a shell would."""
    words = commands.take_words()
    while True:
        if b"kill" in words:
            return end_now(first)
        if b"term" in words:
            send(first, signal.SIGTERM)
        code = reap(first)
        if code is not None:
            return code
        readable = select.select([wake, 0], [], [], LOOK_SECONDS)[0]
        if wake in readable:
            os.read(wake, CHUNK)
        # A forked child of the platform may hold the pipe open after the platform is gone.
        words = (
            commands.read_words() if 0 in readable else [b"kill"] if os.getppid() != parent else []
        )


def reap(first: int) -> int | None:
    """Collect all ended processes; return the exit code of the first process if it ended."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == first:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def end_now(first: int) -> int:
    """Keep killing until the first process has ended."""
    while True:
        kill_all(first)
        code = reap(first)
        if code is not None:
            return code
        time.sleep(SWEEP_SECONDS)


def sweep(first: int) -> None:
    """Kill all remaining processes repeatedly, because they may create children until they die."""
    while True:
        kill_all(first)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(SWEEP_SECONDS)


def kill_all(first: int) -> None:
    """Kill every process of the container that can be found."""
    if LINUX:
        for pid in descendants():
            send(pid, signal.SIGKILL)
        return
    try:
        os.killpg(first, signal.SIGKILL)
    except OSError:
        return


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may no longer exist."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def descendants() -> list[int]:
    """Return every descendant of this process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(parent_of(name), []).append(int(name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        offspring = children.get(waiting.pop(), [])
        found += offspring
        waiting += offspring
    return found


def parent_of(pid: str) -> int:
    """Return the parent of a process; 0 if the process no longer exists."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name in parentheses may contain anything; what follows the last one does not.
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def remove(folder: str) -> None:
    """Delete a folder with everything in it, as far as that is possible."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in files:
            discard(os.path.join(place, name), is_folder=False)
        for name in folders:
            path = os.path.join(place, name)
            discard(path, is_folder=not os.path.islink(path))
    discard(folder, is_folder=True)


def discard(path: str, *, is_folder: bool) -> None:
    """Delete one entry."""
    try:
        if is_folder:
            os.rmdir(path)
        else:
            os.unlink(path)
    except OSError:
        return


if __name__ == "__main__":
    main()
