"""Read the flow runs above and beside those that run jobs.

They show which runs have lost their parent, and which run adopts a job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from uuid import UUID

from cpln_flows.concurrency import each
from cpln_flows.model.identifiers import Role
from cpln_flows.model.links import CommandRef
from cpln_flows.reconcile.flow_runs import FlowRuns
from cpln_flows.reconcile.snapshot import ChildCase, JobCase, JobView, Lookup, RunView, Scope

_DEEPEST = 50


@dataclass(frozen=True)
class Family:
    """Reads the relatives of flow runs.

    Args:
        runs: Prefect's side.
        scope: What the flow looks at.
        read: Reads one command.
    """

    runs: FlowRuns
    scope: Scope
    read: Callable[[CommandRef], Awaitable[Lookup]]

    async def of_jobs(self, cases: list[JobCase]) -> list[JobCase]:
        """Add to jobs that flow runs have started what is known of the runs above and beside."""
        children = {
            case.job.ref: case.run
            for case in cases
            if case.job.role is Role.JOB and isinstance(case.run, RunView)
        }
        if not children:
            return cases
        dead, over = await self._dead([run for run in children.values() if not run.is_final])
        orphaned = {
            case.job.submission
            for case in cases
            if (run := children.get(case.job.ref)) and run.is_final
        }
        siblings = await self.runs.of_submissions(
            {submission for submission in orphaned if submission}
        )
        alive = {run.parent_task_run_id for run in siblings if not run.is_final}
        return [
            replace(
                case,
                ancestor=(ancestor := dead.get(children[case.job.ref].id)),
                ancestor_ended=ancestor is not None and ancestor.id in over,
                successor=case.job.submission in alive and children[case.job.ref].is_final,
            )
            if case.job.ref in children
            else case
            for case in cases
        ]

    async def of_job_flows(self, under_way: Collection[RunView]) -> list[ChildCase]:
        """Return the runs below a run that is over.

        Their process ended with their parent's, so nobody else will ever end them.

        Args:
            under_way: Runs of ``run_namespaced_job`` without an active job.
        """
        if not self.scope.is_whole:
            return []  # such a run belongs to no GVC
        dead, over = await self._dead(under_way)
        return [
            ChildCase(run, dead[run.id], dead[run.id].id in over)
            for run in under_way
            if run.id in dead
        ]

    async def in_pool(self, cases: list[JobCase]) -> list[JobCase]:
        """Return the jobs whose runs belong to the work pool in scope.

        A run that was called by another is in no pool; it belongs to the pool of the nearest run
        above it that is in one.
        """
        if self.scope.work_pool is None:
            return cases
        owners = {case.job.ref: case.run for case in cases if isinstance(case.run, RunView)}
        for _ in range(_DEEPEST):
            climbing = {
                ref: run
                for ref, run in owners.items()
                if run.work_pool is None and run.parent_task_run_id
            }
            if not climbing:
                break
            above = await self.runs.parents(
                list({run.id: run for run in climbing.values()}.values())
            )
            if not above:
                break
            owners |= {ref: above[run.id] for ref, run in climbing.items() if run.id in above}
        return [
            case
            for case in cases
            if (owner := owners.get(case.job.ref)) is not None and self.scope.is_of_pool(owner)
        ]

    async def again(self, case: ChildCase) -> ChildCase | None:
        """Read a run and its ancestor again; ``None`` if Prefect no longer knows one of them."""
        fresh = await self.runs.by_ids({case.run.id, case.ancestor.id})
        run, ancestor = fresh.get(case.run.id), fresh.get(case.ancestor.id)
        return replace(case, run=run, ancestor=ancestor) if run and ancestor else None

    async def _dead(self, children: Collection[RunView]) -> tuple[dict[UUID, RunView], set[UUID]]:
        """Return the nearest ended ancestor per run, and the ancestors whose container is over.

        A deployed run has a process of its own, so the runs above it prove nothing about it.
        """
        dead: dict[UUID, RunView] = {}
        climbing = {run.id: run for run in children}  # the child -> how far up it was followed
        for _ in range(_DEEPEST):
            climbing = {child: run for child, run in climbing.items() if not run.is_deployed}
            if not climbing:
                break
            above = await self.runs.parents(
                list({run.id: run for run in climbing.values()}.values())
            )
            climbing = {child: above[run.id] for child, run in climbing.items() if run.id in above}
            dead |= {child: run for child, run in climbing.items() if run.is_final}
            climbing = {child: run for child, run in climbing.items() if not run.is_final}
        return dead, await self._ended_containers(list(dead.values()))

    async def _ended_containers(self, runs: Collection[RunView]) -> set[UUID]:
        """Return the runs whose container is seen to be over, so none of their hooks can run."""
        unique = list({run.id: run for run in runs}.values())

        async def is_over(run: RunView) -> bool:
            if run.command is None or not self.scope.holds(run.command.workload_ref):
                return False
            job = await self.read(run.command)
            return isinstance(job, JobView) and job.role is not Role.JOB and not job.is_active

        return {
            run.id for run, over in zip(unique, await each(is_over, unique), strict=True) if over
        }
