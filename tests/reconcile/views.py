"""Flow runs and jobs as the decisions see them; what a test does not care about has defaults."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from cpln_flows.model.identifiers import Role
from cpln_flows.model.links import CommandRef
from cpln_flows.model.policy import Policy
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile.snapshot import (
    Clocks,
    JobCase,
    JobView,
    Lookup,
    Misses,
    NotFound,
    RunView,
    Scope,
)

NOW = datetime(2026, 1, 10, 10, 0, tzinfo=UTC)
CLOCKS = Clocks.alike(NOW)
SKEWED = [Clocks(NOW, NOW + timedelta(minutes=minutes)) for minutes in (-20, 20)]
RUN, ANCESTOR, INSTALLATION, OTHER = (UUID(int=number) for number in range(1, 5))
REF = CommandRef("acme", "dev", "etl", "9b38a647-cd2b-47e7-987b-8c4f8b114be6")
SCOPE = Scope("acme")
POLICY = Policy()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def run(
    state: str = "RUNNING",
    *,
    age: float = 60,
    name: str | None = None,
    pid: str | None = REF.pid,
    **more,
) -> RunView:
    return RunView(
        RUN, "silver-fox", RunState(state), name or state.title(), ago(age), pid=pid, **more
    )


def job(stage: str = "running", *, changed: float = 60, created: float = 600, **more) -> JobView:
    given = {
        "replica": None if stage == "pending" else "command-9b38a647-x",
        "location": "local-1",
        "run_id": RUN,
        "role": Role.CONTAINER,
        "attempt": 0,
        "installation": INSTALLATION,
    }
    return JobView(REF, stage, ago(created), ago(changed), **{**given, **more})


def missed(times: int, *, since: float = 60, command_id: str = REF.command_id) -> Misses:
    return Misses(times, ago(since), command_id)


def case(seen: JobView, owner, **more) -> JobCase:
    return JobCase(seen, owner, **more)


GONE = NotFound(REF)


def stamped(seen: Lookup, clocks: Clocks) -> Lookup:
    """What the platform shows of a job when its clock shows something else than Prefect's."""
    if not isinstance(seen, JobView):
        return seen
    return replace(
        seen, created=clocks.in_platform(seen.created), changed=clocks.in_platform(seen.changed)
    )
