"""The vendor's command line from npm: installed once on a machine, and driven as its users do."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.contract.target import Target
from tests.patience import PATIENCE_SECONDS

PACKAGE = "@controlplane/cli@3.10.1"
_INSTALL_SECONDS = 240


def install(config: pytest.Config) -> Path:
    """Install the command line into a folder that outlives the test run; return the program.

    The folder is that of pytest's cache, whether or not pytest keeps a cache: git ignores it.
    """
    folder = config.rootpath / ".pytest_cache" / "vendor-cli" / PACKAGE.rpartition("@")[2]
    program = folder / "node_modules" / ".bin" / "cpln"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two processes of one test run need it at the same time: the second waits for the first.
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _install(folder)
    return program


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm and node are needed to install the vendor's command line")
    # A process that is killed half-way leaves no half of an installation under the final name.
    part = Path(tempfile.mkdtemp(dir=folder.parent))
    command = [
        npm,
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--prefix",
        str(part),
        PACKAGE,
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
        if done.returncode:
            pytest.skip(f"npm could not install {PACKAGE}: {done.stderr.strip().splitlines()[:1]}")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {PACKAGE} within {_INSTALL_SECONDS} s")
    finally:
        shutil.rmtree(part, ignore_errors=True)


@dataclass
class VendorCli:
    """The command line, with the environment that points it at the platform under test."""

    program: Path
    platform: Target
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "CPLN_ENDPOINT": self.platform.url,
            "CPLN_TOKEN": self.platform.token,
            "CPLN_ORG": self.platform.org,
            "CPLN_GVC": self.platform.gvc,
            "CPLN_HOME": str(self.home),
            "CPLN_SKIP_UPDATE_CHECK": "1",
        }

    def run(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(self.program), *arguments]
        return subprocess.run(
            command,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    @contextmanager
    def following(self, *arguments: str) -> Iterator["Following"]:
        """Run a command that does not end by itself."""
        command = [str(self.program), *arguments]
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        following = Following(process)
        try:
            yield following
        finally:
            process.kill()
            process.wait()
            following.reader.join()
            process.stdout.close()


class Following:
    """The lines of a running command, as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._lines: Queue[str] = Queue()
        self.reader = threading.Thread(
            target=lambda: [self._lines.put(line) for line in process.stdout], daemon=True
        )
        self.reader.start()

    def wait_for(self, text: str) -> str:
        """The next line that holds a text."""
        try:
            while text not in (line := self._lines.get(timeout=PATIENCE_SECONDS)):
                pass
        except Empty:
            raise AssertionError(f"no line with {text!r}") from None
        return line
