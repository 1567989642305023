"""The states of a flow run under Prefect's names, without importing Prefect."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Type of a flow run's state, named as in Prefect."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


FINAL = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.CRASHED})
UNDER_WAY = frozenset({RunState.PENDING, RunState.RUNNING, RunState.CANCELLING})
"""States in which a flow run has a container, or is about to get one."""
