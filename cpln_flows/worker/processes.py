"""Whether a process of this machine has ended, answered only if that is certain."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

_PROCESS = re.compile(r"([0-9a-f]{16}):([1-9]\d{0,8}):(\d{1,20})", re.ASCII)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START = 0, 19  # of what follows the program's name in /proc/PID/stat
_DEAD = frozenset("ZX")


def own() -> str:
    """Return what identifies this process for `has_ended`.

    It is empty where the system does not provide that.
    """
    machine, pid = _machine(), os.getpid()
    found = _stat(pid)
    return f"{machine}:{pid}:{found[_START]}" if machine and found else ""


def has_ended(process: str) -> bool:
    """Whether a process is known to have ended.

    The answer is false for a process of another machine, or of another container.

    Args:
        process: What `own` returned in that process.
    """
    found = _PROCESS.fullmatch(process)
    if found is None or found[1] != _machine():
        return False
    pid = int(found[2])
    try:
        os.kill(pid, 0)  # checks only that it exists; /proc may hide the processes of other users
    except ProcessLookupError:
        return True
    except OSError:
        return False
    stat = _stat(pid)
    return stat is not None and (stat[_STATE] in _DEAD or stat[_START] != found[3])


def _machine() -> str | None:
    """Return an opaque value that exactly the processes that see each other's ids share."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
        text = f"{_BOOT_ID.read_text()} {namespace} {os.uname().nodename}"
    except (OSError, AttributeError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stat(pid: int) -> list[str] | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields if len(fields) > _START else None
