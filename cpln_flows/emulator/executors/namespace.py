"""A private file system for a process container: its volumes are where the container names them.

Only Linux has this, and not every machine allows it: a user namespace gives a process the right to
mount, for itself and its children. The new root is a folder in memory with the entries of the real
root. If a mount needs a folder that does not exist, the folder above it is replaced in the same
way, so nothing on the machine changes.

The supervisor loads this module in a separate child. It needs only the standard library.
"""

# pathlib takes longer to load than everything else here combined.
# ruff: noqa: PTH102, PTH103, PTH112, PTH114, PTH115, PTH118, PTH120, PTH123, PTH208, PTH211

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MOST_ENTRIES = 2000  # of a folder that has to be replaced

_libc = ctypes.CDLL(None, use_errno=True)


def enter(binds: list[tuple[str, str]], root: str) -> None:
    """Show folders and files at other paths to this process and its children.

    Args:
        binds: The path to show, and the folder or file to show there.
        root: An empty folder for the new root.

    Raises:
        OSError: The machine does not allow it, or a path leads through something that is not a
            folder.
    """
    # In a separate user namespace, even root has no rights to the files of others, so root does
    # without it.
    if _libc.unshare(CLONE_NEWNS) != 0:
        _become_mounter()
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    View(root).show(binds)
    os.chroot(root)
    os.chdir("/")


def _become_mounter() -> None:
    """Get the right to mount, and stay the same user.

    The right is lost as soon as the container's program begins.
    """
    user, group = os.getuid(), os.getgid()
    _checked(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


class View:
    """A tree of folders that shows the real one, except at some paths."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._replaced: set[str] = set()
        self._replace("/")

    def show(self, binds: list[tuple[str, str]]) -> None:
        """Place folders and files at paths; those that contain others come first."""
        for path, source in sorted(binds):
            self._make_way(os.path.dirname(path))
            self._place(source, path)

    def _make_way(self, folder: str) -> None:
        """Create a missing folder inside a folder that belongs to the view."""
        if os.path.isdir(self._root + folder):
            return
        above = os.path.dirname(folder)
        self._make_way(above)
        self._own(above)
        os.mkdir(self._root + folder)
        self._replaced.add(folder)

    def _own(self, folder: str) -> None:
        if folder not in self._replaced:
            self._replace(folder)

    def _replace(self, folder: str) -> None:
        """Cover a folder with an empty one in memory, and show the real entries in it."""
        entries = os.listdir(folder) if os.path.isdir(folder) else []
        if len(entries) > MOST_ENTRIES:
            raise OSError(f"{folder} has too many entries")
        target = self._root + folder
        _mount(b"tmpfs", target, b"tmpfs", 0)
        self._replaced.add(folder)
        for name in entries:
            self._place(os.path.join(folder, name), os.path.join(folder, name))

    def _place(self, source: str, path: str) -> None:
        target = self._root + path
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
            return
        if not os.path.lexists(target):
            self._own(os.path.dirname(path))
            if os.path.isdir(source):
                os.makedirs(target, exist_ok=True)
            else:
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600))
        _mount(os.fsencode(source), target, None, MS_BIND | MS_REC)


def _mount(source: bytes | None, target: str, kind: bytes | None, flags: int) -> None:
    _checked(_libc.mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), None))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
