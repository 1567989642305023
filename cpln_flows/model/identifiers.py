"""What identifies a job: its tags, its submission, and the prefix of its log lines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from uuid import UUID, uuid4

CREATED_BY_PREFECT = "cpln/createdByPrefect"
SPEC_HASH = "cpln/specHash"
JOB_TYPE = "cpln/prefectJobType"

FLOW_RUN_ID = "prefect.io/flow-run-id"
FLOW_NAME = "prefect.io/flow-name"
AGENT = "cpln/prefectAgent"
ROLE = "cpln-flows/role"
SUBMISSION = "cpln-flows/submission"
ATTEMPT = "cpln-flows/attempt"
INSTALLATION = "cpln-flows/installation"
ROOT_FLOW_RUN_ID = "cpln-flows/root-flow-run-id"


JOB_FLOW = "run-namespaced-job"
"""Name of the flow that runs one job."""
_PENDING = "PENDING"


class Role(StrEnum):
    """What a command is to the flow run whose id it carries."""

    CONTAINER = "container"
    JOB = "job"


class Area(StrEnum):
    """The part of the integration that a log line comes from; users filter by these names."""

    JOB = "Job"
    WORKLOAD = "Workload"
    SYNC_TO_PREFECT = "Sync CPLN→Prefect"
    SYNC_TO_CPLN = "Sync Prefect→CPLN"
    KILL = "Kill"
    CLEANUP = "Cleanup"
    LOGS = "Logs"
    INIT = "Init"


@dataclass(frozen=True)
class Submission:
    """The identity of one intended job.

    A command that carries it is that job, whoever started it.
    """

    id: UUID = field(default_factory=uuid4)
    attempt: int = 0

    @property
    def suffix(self) -> str:
        """A short, stable suffix: the same submission always gets the same workload name."""
        return hashlib.sha256(f"{self.id}:{self.attempt}".encode()).hexdigest()[:10]

    @property
    def tags(self) -> dict[str, str]:
        """The two tags by which the command of this submission is found."""
        return {SUBMISSION: str(self.id), ATTEMPT: str(self.attempt)}


@dataclass(frozen=True)
class Owner:
    """The flow run that a job belongs to, as far as it is known; outside of a run nothing is."""

    flow_run_id: UUID | None = None
    flow_name: str | None = None
    root_flow_run_id: UUID | None = None
    installation: UUID | None = None
    agent: str | None = None

    def tags(self, role: Role) -> dict[str, str]:
        """Return the command tags that name the owner, without those that are unknown."""
        known = {
            FLOW_RUN_ID: self.flow_run_id,
            FLOW_NAME: self.flow_name,
            AGENT: self.agent,
            ROLE: role,
            INSTALLATION: self.installation,
            ROOT_FLOW_RUN_ID: self.root_flow_run_id if role is Role.JOB else None,
        }
        return {tag: str(value) for tag, value in known.items() if value is not None}


def attempt_starts(state_types: Sequence[str]) -> list[int]:
    """Return the positions at which an attempt begins: each time the run became PENDING.

    The run's own count does not serve. It grows only when the flow begins, so two containers would
    share a number if the first never got that far. It also grows with retries inside one container,
    which pass through AwaitingRetry and not through PENDING.

    Args:
        state_types: Types of all states that the run has had, oldest first.

    >>> attempt_starts(["SCHEDULED", "PENDING", "PENDING", "RUNNING", "PENDING"])
    [1, 4]
    """
    pairs = enumerate(pairwise(["", *state_types]))
    return [place for place, (before, after) in pairs if after == _PENDING != before]


def workload_tags(*, spec_hash: str, job_type: str) -> dict[str, str]:
    """Return the tags of every workload that this library creates."""
    return {CREATED_BY_PREFECT: "true", SPEC_HASH: spec_hash, JOB_TYPE: job_type}


@dataclass(frozen=True)
class LogContext:
    """The known links of the chain flow run → workload → command, which prefix each log line.

    >>> LogContext(flow="etl", workload="w").line(Area.JOB, "Creating Control Plane job...")
    '[CPLN] Job | Flow: etl, Workload: w > Creating Control Plane job...'
    """

    flow: str | None = None
    run_id: UUID | None = None
    gvc: str | None = None
    workload: str | None = None
    command_id: str | None = None

    def line(self, area: Area, message: str) -> str:
        """Return the complete log line, without unknown fields."""
        fields = {
            "Flow": self.flow,
            "RunID": self.run_id,
            "GVC": self.gvc,
            "Workload": self.workload,
            "Cmd": self.command_id,
        }
        known = ", ".join(f"{name}: {value}" for name, value in fields.items() if value is not None)
        return f"[CPLN] {area} | {known} > {message}" if known else f"[CPLN] {area} > {message}"
