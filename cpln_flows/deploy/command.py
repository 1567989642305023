"""Whether this process is `prefect deploy`, and how a step fails there."""

from __future__ import annotations

import sys

from cpln_flows.errors import CplnError

_DEPLOY_COMMAND = "prefect.cli.deploy._core"
"""A module that only `prefect deploy` imports."""


def is_deploying() -> bool:
    """Whether this process is the command `prefect deploy`."""
    return _DEPLOY_COMMAND in sys.modules


def failure(error: CplnError) -> CplnError | SystemExit:
    """Return what a step raises for an error.

    Prefect's command prints an error with its whole traceback, but an exit as it is.

    Args:
        error: What went wrong.
    """
    return SystemExit(f"Error: {error}") if is_deploying() else error
