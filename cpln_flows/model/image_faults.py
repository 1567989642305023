"""Recognize from what a container printed last that its image cannot run a flow of Prefect 3. Pure.

Such a container fails before any code of the user runs, and what it prints names a module or a
command, but not the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LAST_LINES = 100
"""How many last lines are enough: an engine that cannot load a flow prints two tracebacks."""
LONGEST_LINE = 300
"""Messages that are recognized begin within so many characters of a line."""

_BUILD = (
    "build an image from deployments/image/Dockerfile with the step cpln_flows.deploy.build_image,"
    " or with cpln image build --name flows:TAG --dockerfile deployments/image/Dockerfile --push,"
    " and give it to the deployment as job variable image: //image/flows:TAG"
)
_NO_PACKAGE = ("No module named 'cpln_flows'", "No module named 'prefect_cpln'")
_OTHER_PACKAGE = ("No module named 'cpln_flows.", "No module named 'prefect_cpln.")
_NO_PREFECT = ("No module named 'prefect'", '"prefect": executable file not found')
_NO_PREFECT_AT_THE_END = (
    "No module named prefect",
    "prefect: not found",
    "prefect: command not found",
)
_OTHER_MAJOR = re.compile(
    r"Found incompatible versions: client: (\d{1,4})\.[^,]{0,40}, server: (\d{1,4})\."
)
_BEFORE_FLOW_RUNS = "No such command 'execute'"
"""What an old Prefect 2 answers to `prefect flow-run execute`."""


def advice(lines: Sequence[str]) -> str | None:
    """Return what is wrong with the image, and what to do, if its last lines show it.

    Args:
        lines: The last lines of the container, and what the platform reports about its end.

    Example:
        >>> str(advice(["ModuleNotFoundError: No module named 'cpln_flows'"])).split(";")[0]
        'The image has no cpln-flows, which the flow needs'
        >>> advice(["ModuleNotFoundError: No module named 'pandas'"])
    """
    newest_first = [line[:LONGEST_LINE].rstrip() for line in lines][: -LAST_LINES - 1 : -1]
    fault = next(filter(None, map(_fault, newest_first)), None)
    return f"The image has {fault}; {_BUILD}" if fault else None


def _fault(line: str) -> str | None:
    if any(mark in line for mark in _NO_PACKAGE):
        return "no cpln-flows, which the flow needs"
    if any(mark in line for mark in _OTHER_PACKAGE):
        return "another version of cpln-flows than the flow needs"
    if (majors := _OTHER_MAJOR.search(line)) is not None:
        return f"Prefect {majors[1]}, and the server has Prefect {majors[2]}"
    if _BEFORE_FLOW_RUNS in line:
        return "an old Prefect without the command flow-run execute, and the server has Prefect 3"
    if any(mark in line for mark in _NO_PREFECT) or line.endswith(_NO_PREFECT_AT_THE_END):
        return "no Prefect"
    return None
