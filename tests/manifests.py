"""Manifests that tests run: the command is Python, which the local platform really executes."""

import copy
import itertools
import re
from pathlib import Path
from typing import Any


def kubernetes_job(script: str, *, name: str = "test-job", **spec: Any) -> dict[str, Any]:
    """A Kubernetes Job whose container runs a Python script."""
    container = {"name": "main", "image": "python:3.12-slim", "command": ["python", "-c", script]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": pod}, **spec},
    }


LINES = "import time\nfor n in range(5):\n    print('line', n, flush=True)\n    time.sleep(0.1)"
FOREVER = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)"
FAILING = "import sys\nprint('about to fail')\nsys.exit(3)"
SILENT = "pass"


def goes_on_with(path: Path) -> str:
    """Return Python code that waits until a file exists.

    A test creates the file when it has seen what comes before.
    """
    return (
        f"import pathlib, time\nwhile not pathlib.Path({str(path)!r}).exists(): time.sleep(0.02)\n"
    )


def texts(result: str) -> list[str]:
    """The lines of a result without their times."""
    return [line.split(" - ", 1)[1] for line in result.splitlines()]


ABSENT = object()


def changed(document: dict[str, Any], *changes: tuple[str, Any]) -> dict[str, Any]:
    """Return a copy of a manifest with other values at some paths.

    A path is written as the path of a fault is: ``spec.containers[0].env``.
    """
    document = copy.deepcopy(document)
    for path, value in changes:
        parts = [
            int(part) if part.isdigit() else part
            for part in re.split(r"[.\[]", path.replace("]", ""))
        ]
        place: Any = document
        for part, following in itertools.pairwise(parts):
            _put(place, part, [] if isinstance(following, int) else {}, only_if_absent=True)
            place = place[part]
        if value is ABSENT:
            del place[parts[-1]]
        else:
            _put(place, parts[-1], value)
    return document


def _put(place: Any, key: str | int, value: Any, *, only_if_absent: bool = False) -> None:
    if isinstance(place, list) and key == len(place):
        place.append(value)
    elif not only_if_absent or (isinstance(place, dict) and key not in place):
        place[key] = value


def native_job(**spec: Any) -> dict[str, Any]:
    """A native cron workload."""
    container = {"name": "main", "image": "python:3.12-slim", "command": "python", "args": ["-V"]}
    return {
        "kind": "workload",
        "name": "test-job",
        "spec": {"type": "cron", "containers": [container], **spec},
    }
