"""The folder in which one platform keeps its objects and volumes between runs.

The file is replaced as a whole, so a crash at any moment leaves the previous state or the new one.
Commands, executions and logs are not kept.
"""

from __future__ import annotations

import fcntl
import os
import stat
import weakref
from pathlib import Path

from cpln_flows.emulator.saved import SavedState, SavedStateError, decode, encode

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PID_LENGTH = 20


class StateError(Exception):
    """A state folder cannot be used; the message names it and says what to do."""


class StateFolder:
    """One folder, which one platform at a time may use.

    It holds the file ``state.json``, which only the user can read, and the folder ``volumes``.

    Args:
        folder: The folder. It is created when it is opened.

    Attributes:
        file: The file with the objects.
        volumes: Folder for the volumesets, with a folder for each GVC.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder.resolve()
        self.file: Path = self.folder / "state.json"
        self.volumes: Path = self.folder / "volumes"
        self._release: weakref.finalize[[int], StateFolder] | None = None

    def open(self, org: str) -> SavedState | None:
        """Take the folder for a platform, and read what it holds; ``None`` if that is nothing.

        Args:
            org: Name of the platform's organization.

        Raises:
            StateError: Another platform uses the folder, or its content cannot be used. Nothing was
                changed.
        """
        try:
            self._lock()
            content = self.file.read_bytes() if self.file.exists() else None
            return None if content is None else decode(content, org)
        except SavedStateError as error:
            self.close()
            raise StateError(f"the saved state {self.file} {error}.") from None
        except OSError as error:
            self.close()
            raise StateError(
                f"the folder {self.folder} cannot hold the state: {error.strerror or error}."
                " Choose another folder."
            ) from error

    def write(self, state: SavedState) -> None:
        """Replace the saved state.

        Raises:
            StateError: It cannot be written; the previous one is still there.
        """
        temporary = self.file.with_suffix(".json.new")
        try:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE_MODE
            )
            with os.fdopen(descriptor, "wb") as file:
                file.write(encode(state))
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self.file)
            self._sync_folder()
        except OSError as error:
            raise StateError(
                f"the state cannot be saved to {self.file}: {error.strerror or error}."
                " What was saved before is still there."
            ) from error

    def close(self) -> None:
        """Leave the folder to another platform; harmless if it was not opened."""
        if self._release is not None:
            self._release()

    def _lock(self) -> None:
        self.folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        found = self.folder.stat()
        if found.st_uid != os.getuid() or found.st_mode & _OTHERS_MAY_WRITE:
            raise StateError(
                f"the folder {self.folder} can be changed by other users, who could give the"
                " platform a token that they know. Choose another folder, or make it your own with"
                f" `chmod 700 {self.folder}`."
            )
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, _PID_LENGTH).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StateError(
                f"the folder {self.folder} is in use by another local platform"
                f" (process {holder or 'unknown'}). Stop that one, or choose another folder."
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        # The lock is gone with the descriptor, even if nobody closes this object.
        self._release = weakref.finalize(self, os.close, descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())

    def _sync_folder(self) -> None:
        """Make the replacement of the file itself survive a crash of the machine."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
