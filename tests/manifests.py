"""Manifests that tests run: the command is Python, which the local platform runs as a real process."""

from typing import Any


def kubernetes_job(script: str, *, name: str = "test-job", **spec: Any) -> dict[str, Any]:
    """A Kubernetes Job whose container runs a Python script."""
    container = {"name": "main", "image": "python:3.12-slim", "command": ["python", "-c", script]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": pod}, **spec}}


LINES = "import time\nfor n in range(5):\n    print('line', n, flush=True)\n    time.sleep(0.1)"
FOREVER = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)"
FAILING = "import sys\nprint('about to fail')\nsys.exit(3)"
SILENT = "pass"


def texts(result: str) -> list[str]:
    """The lines of a result without their times."""
    return [line.split(" - ", 1)[1] for line in result.splitlines()]
