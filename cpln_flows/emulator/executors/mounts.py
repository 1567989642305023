"""Volumes of a process container: local folders, shown at the paths that the container names.

Where the machine does not allow that (``namespace``), or it would hide what every program here
needs, the paths of the folders replace these paths in the container's command, its variables and
its working folder. Programs that get the paths in another way find the folders in the variable
``CPLN_LOCAL_MOUNTS``, a JSON object.

Most images run as root, whose home is ``/root``. Here a container has a home of its own, so a
volume below ``/root`` is linked into it as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cpln_flows.emulator.executors.base import Mount

VARIABLE = "CPLN_LOCAL_MOUNTS"
LINK = "link"
_HOME_OF_IMAGES = Path("/root")
_BEFORE, _AFTER = r"(?<![-\w./])", r"(?![-\w.])"

Orders = list[tuple[str, str, dict[str, str]]]
"""What the supervisor creates before it starts the program: kind, path, and files by name."""


class Places:
    """Where the volumes of one container are on this machine.

    Args:
        mounts: The volumes.
        home: The container's own folder, which is deleted with it.
        scratch: Folder for scratch space, which the containers of a replica share.
        volumesets: Folder for volumesets.
    """

    def __init__(
        self, mounts: Sequence[Mount], *, home: Path, scratch: Path, volumesets: Path
    ) -> None:
        self.orders: Orders = []
        self.absent: list[str] = []
        self._home = home
        self._real: dict[str, str] = {}
        for index, mount in enumerate(mounts):
            self._add(mount, home / f"mount-{index}", scratch, volumesets)

    def _add(self, mount: Mount, own: Path, scratch: Path, volumesets: Path) -> None:
        if mount.files is not None:
            self._place(mount, "folder", own, dict(mount.files))
        elif mount.text is not None:
            name = Path(mount.path).name
            file = own / (name if name not in {"", ".", ".."} else "file")
            self._place(mount, "folder", own, {file.name: mount.text}, file)
        elif mount.scratch is not None:
            self._place(mount, "scratch", scratch / mount.scratch, {})
        elif mount.volumeset is not None:
            self._place(mount, "volumeset", volumesets / mount.volumeset, {})
        else:
            self.absent.append(mount.uri)

    def _place(
        self, mount: Mount, kind: str, folder: Path, files: dict[str, str], real: Path | None = None
    ) -> None:
        self.orders.append((kind, str(folder), files))
        self._real[mount.path.rstrip("/")] = str(real or folder)
        path = Path(mount.path)
        if _HOME_OF_IMAGES in path.parents and ".." not in path.parts:
            link = self._home / path.relative_to(_HOME_OF_IMAGES)
            self.orders.append((LINK, str(link), {"target": str(real or folder)}))

    def hides(self, paths: Iterable[str]) -> bool:
        """Return whether a volume would be above one of these paths and hide it."""
        mounted = [Path(path) for path in self._real]
        return any(Path(needed).is_relative_to(path) for needed in paths for path in mounted)

    @property
    def binds(self) -> list[tuple[str, str]]:
        """The path of each volume, and its place on this machine."""
        return list(self._real.items())

    @property
    def mapped_variables(self) -> Mapping[str, str]:
        """The variable that names the place of each volume on this machine."""
        return {VARIABLE: json.dumps(self._real)} if self._real else {}

    @property
    def mounted_variables(self) -> Mapping[str, str]:
        """The same variable when each volume is at the path that the container names."""
        return {VARIABLE: json.dumps({path: path for path in self._real})} if self._real else {}

    def mapped(self, text: str) -> str:
        """Replace the paths that the container names with those of this machine."""
        if not self._real:
            return text
        # The longest first: of /data and /data/in, the latter contains /data/in/x.
        paths = sorted(self._real, key=len, reverse=True)
        pattern = re.compile(f"{_BEFORE}({'|'.join(map(re.escape, paths))}){_AFTER}")
        return pattern.sub(lambda match: self._real[match[1]], text)
