"""The programs that are installed beside the running interpreter, even if no shell knows them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path


def search_path(path: str | None) -> str:
    """Return a ``PATH`` on which the programs of this interpreter come first.

    Args:
        path: The ``PATH`` that comes after them.
    """
    others = [
        folder for folder in (path or os.defpath).split(os.pathsep) if folder not in _folders()
    ]
    return os.pathsep.join([*_folders(), *others])


def typed(program: str, path: str | None) -> str:
    """Return what to type in a shell for a program of this interpreter: its name or its whole path.

    Args:
        program: Name of the program.
        path: The shell's ``PATH``.
    """
    ours = shutil.which(program, path=os.pathsep.join(_folders()))
    found = shutil.which(program, path=path or os.defpath)
    if ours is None or (found is not None and Path(found).samefile(ours)):
        return program
    return shlex.quote(ours)


def _folders() -> list[str]:
    folders = [str(Path(sys.executable).parent)] if sys.executable else []
    return list(dict.fromkeys([*folders, sysconfig.get_path("scripts")]))
