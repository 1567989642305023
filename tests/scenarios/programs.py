"""Real programs in processes of their own, as users start them."""

import os
import subprocess
import sys
from pathlib import Path


def start(source: str, folder: Path, environment: dict[str, str], name: str = "program.py") -> subprocess.Popen[str]:
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
    output, _ = process.communicate(timeout=90)
    return process.returncode, output
