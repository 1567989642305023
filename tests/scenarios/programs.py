"""Real programs in processes of their own, as users start them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from tests.patience import PATIENCE_SECONDS

# A look may cost a server more than the wait does.
_SHORTEST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 0.5


def start(
    source: str, folder: Path, environment: dict[str, str], name: str = "program.py"
) -> subprocess.Popen[str]:
    """Write a program and start it."""
    path = folder / name
    path.write_text(source)
    return subprocess.Popen(
        [sys.executable, str(path)],
        env=os.environ | environment,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(source: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a program to its end; return its exit code and what it printed."""
    process = start(source, folder, environment)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, output


def until(look: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for something that another process does; return what the look has found."""
    end, wait = time.monotonic() + seconds, _SHORTEST_WAIT_SECONDS
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(wait)
        wait = min(1.5 * wait, _LONGEST_WAIT_SECONDS)
    raise TimeoutError(f"it did not happen within {seconds:.0f} s")


async def reached(look: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait in async code until something is so."""
    with anyio.fail_after(seconds):
        while not look():  # noqa: ASYNC110 - what happens in another thread sets no event here
            await anyio.sleep(0.02)


def running_command(local) -> dict[str, Any] | None:
    """The first command of a local platform that has a container."""
    return next(
        (
            command
            for command in local.platform.commands()
            if (command.get("status") or {}).get("replica")
        ),
        None,
    )
