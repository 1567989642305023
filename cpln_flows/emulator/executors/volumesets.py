"""Where the volumesets of every organization are on this machine.

A volumeset outlives replicas, jobs and workloads; its folder goes when the volumeset is deleted.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
import weakref
from pathlib import Path

from cpln_flows.emulator.clock import running_loop

# No name of a GVC or a volumeset begins with a dot.
_DOOMED = ".deleted-"


class Volumesets:
    """The folders of all volumesets, by organization and GVC.

    Args:
        root: Folder for those of every organization. Default: a temporary one, which is created
            when it is needed and deleted with this object.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = None if root is None else root.resolve()
        self._kept: dict[str, Path] = {}

    def keep(self, org: str, folder: Path) -> None:
        """Have the volumesets of one organization in a folder of their own from now on."""
        self._kept[org] = folder
        for leftover in folder.glob(f"*/{_DOOMED}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def folder(self, org: str, gvc: str) -> Path:
        """Return the folder with the volumesets of a GVC; it may not exist yet."""
        kept = self._kept.get(org)
        return (kept if kept is not None else self._shared_root() / org) / gvc

    def delete(self, org: str, gvc: str, name: str) -> None:
        """Delete the folder of a volumeset, if it has one; its name is free immediately."""
        if self._root is None and org not in self._kept:
            return
        folder = self.folder(org, gvc)
        doomed = folder / f"{_DOOMED}{uuid.uuid4()}"
        try:
            (folder / name).rename(doomed)
        except FileNotFoundError:
            return
        loop = running_loop()
        if loop is None:
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            loop.run_in_executor(None, shutil.rmtree, doomed, True)

    def _shared_root(self) -> Path:
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="cpln-volumesets-"))
            weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)
        return self._root
