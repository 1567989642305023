"""Read both sides into a snapshot: a few pages of each, and lookups only for what changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.concurrency import both, each, gathering
from cpln_flows.errors import CplnError, ForbiddenError, NotFoundError
from cpln_flows.model import ending, identifiers
from cpln_flows.model.identifiers import Area, Role
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.links import CommandRef, WorkloadRef
from cpln_flows.model.policy import Policy
from cpln_flows.model.resources import Command, JobExecution
from cpln_flows.model.run_states import RunState
from cpln_flows.model.time import CLOCK_SKEW
from cpln_flows.reconcile import match, standing
from cpln_flows.reconcile.family import Family
from cpln_flows.reconcile.flow_runs import FlowRuns
from cpln_flows.reconcile.report_keys import ReportKey
from cpln_flows.reconcile.snapshot import (
    BOTH,
    EVER,
    TO_CPLN,
    TO_PREFECT,
    CallerCase,
    ChildCase,
    Clocks,
    Ended,
    JobCase,
    JobView,
    Lookup,
    Memory,
    NoJob,
    NotFound,
    NotRead,
    RunCase,
    RunView,
    Scope,
    Snapshot,
    Stop,
    UnknownRun,
    Unread,
)

_ROLES = {str(role): role for role in Role}
_STAGE_OF_EXECUTION = {
    "pending": Stage.PENDING,
    "successful": Stage.COMPLETED,
    "failed": Stage.FAILED,
    "removed": Stage.FAILED,
}
_REPLICA = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass(frozen=True)
class Lists:
    """What the platform's lists hold: every active job, and what could not be listed."""

    workloads: tuple[WorkloadRef, ...] = ()
    jobs: tuple[JobView, ...] = ()
    unread: tuple[Unread, ...] = ()

    @property
    def is_read(self) -> bool:
        """Whether every list was read to its end."""
        return not self.unread


@dataclass
class Observer:
    """Reads both sides.

    Args:
        client: An open client.
        runs: Prefect's side.
        scope: What the flow looks at.
        policy: The thresholds, which determine what deserves a closer look.
        areas: Which directions are wanted; what only the other one needs is not looked up.
    """

    client: CplnClient
    runs: FlowRuns
    scope: Scope
    policy: Policy
    areas: frozenset[Area] = BOTH

    def __post_init__(self) -> None:
        """Create the reader of parents and children."""
        self.family: Family = Family(self.runs, self.scope, self.read)

    async def snapshot(self, clocks: Clocks, memory: Memory) -> Snapshot:
        """Return both sides as they are now.

        The snapshot lists what the platform does not reveal as unread. Without an answer from
        Prefect there is no snapshot.

        Args:
            clocks: What both servers' clocks show.
            memory: What the previous cycle left.
        """
        with gathering():
            return await self._snapshot(clocks, memory)

    async def _snapshot(self, clocks: Clocks, memory: Memory) -> Snapshot:
        lists, pooled = await both(self._lists(), self.runs.under_way(self.scope.work_pool))
        installation = await self.runs.installation()
        known = {run.id: run for run in pooled}
        # Runs of the job flow are in no work pool; any that are were read with the others.
        flows = (
            []
            if self.scope.work_pool
            else [run for run in await self.runs.job_flows() if run.id not in known]
        )
        owners = await self._owners(lists, installation, known)
        outside = await self._outside(pooled, flows, owners, memory)
        known |= owners | {run.id: run for run in outside}
        by_run: dict[UUID, list[JobView]] = {}
        for job in lists.jobs:
            if job.run_id is not None:
                by_run.setdefault(job.run_id, []).append(job)
        run_cases: list[RunCase] = []
        job_cases: list[JobCase] = []
        children: list[ChildCase] = []
        ended: tuple[Ended, ...] = ()
        if TO_PREFECT in self.areas:
            run_cases = await self._run_cases([*pooled, *outside], by_run, lists, clocks, memory)
            known |= {case.run.id: case.run for case in run_cases}
        flows = [run for run in flows if run.id not in known and run.id not in by_run]
        if TO_CPLN in self.areas:
            job_cases = await self._job_cases(lists.jobs, known, installation, clocks, memory)
            children = await self.family.of_job_flows(flows)
            ended = await self._ended(lists, memory, clocks)
        callers, contained = await self._callers(
            flows, {child.run.id for child in children}, lists, clocks, memory
        )
        return Snapshot(
            clocks,
            installation,
            (*run_cases, *contained),
            tuple(job_cases),
            tuple(children),
            ended,
            lists.unread,
            len(lists.workloads),
            callers,
            frozenset(run.id for run in pooled),
            frozenset(run.id for run in outside),
        )

    # Runs in no work pool

    async def _owners(
        self, lists: Lists, installation: UUID, known: Mapping[UUID, RunView]
    ) -> dict[UUID, RunView]:
        """Return the runs of our active containers that are not among those in a work pool."""
        ours = (
            job
            for job in lists.jobs
            if job.installation == installation and self.scope.is_of_agent(job)
        )
        wanted = {
            job.run_id for job in ours if job.role is Role.CONTAINER and job.run_id is not None
        } - known.keys()
        return await self.runs.by_ids(wanted) if wanted else {}

    async def _outside(
        self,
        pooled: Collection[RunView],
        flows: Collection[RunView],
        owners: Mapping[UUID, RunView],
        memory: Memory,
    ) -> list[RunView]:
        """Return the runs that are judged although they are in no work pool.

        Their pool may have been deleted, for instance. They are found by their active job, by
        having been seen before, and once per process by asking Prefect.
        """
        if TO_PREFECT not in self.areas:
            return []
        seen = (memory.pooled | memory.outside) - {run.id for run in pooled}
        found = (
            {run.id: run for run in await self.runs.without_pool()} if memory.first_cycle else {}
        )
        found |= await self.runs.by_ids(seen) if seen else {}
        found |= {run_id: replace(run, is_of_worker=True) for run_id, run in owners.items()}
        found |= {
            run_id: replace(found[run_id], is_of_worker=True) for run_id in seen & found.keys()
        }
        others = found.keys() - {run.id for run in (*pooled, *flows)}
        return [
            found[run_id]
            for run_id in others
            if match.is_outside(found[run_id], self.scope, was_seen=run_id in seen)
        ]

    # The platform's lists

    async def _lists(self) -> Lists:
        try:
            refs = tuple(
                [
                    workload.ref
                    async for workload in workloads.ours(
                        self.client, self.scope.org, self.scope.gvc
                    )
                ]
            )
        except CplnError as error:
            return Lists(unread=(Unread(f"workloads of {self.scope.org}", str(error)),))
        unread: list[Unread] = []

        async def jobs(workload: WorkloadRef) -> list[JobView]:
            try:
                found = await commands.active(self.client, workload)
            except NotFoundError:
                return []  # deleted a moment ago, and its commands with it
            except CplnError as error:
                unread.append(Unread(workload.path, str(error), workload))
                return []
            return [job_view(workload, command) for command in found]

        listed = await each(jobs, refs)
        return Lists(refs, tuple(job for found in listed for job in found), tuple(unread))

    # What flow runs need

    async def _run_cases(
        self,
        under_way: Collection[RunView],
        by_run: Mapping[UUID, list[JobView]],
        lists: Lists,
        clocks: Clocks,
        memory: Memory,
    ) -> list[RunCase]:
        settled: list[RunCase] = []
        open_: list[RunView] = []
        for run in under_way:
            job = match.newest(by_run.get(run.id, ()), run, clocks)
            if job is not None and not self.scope.is_of_agent(job):
                continue
            if (
                job is not None
                and job.ref.pid == run.pid
                and not match.needs_history(run, job, clocks)
            ):
                settled.append(RunCase(run, job))  # what the lists hold is in scope
                continue
            if run.pid is not None and (run.command is None or run.command.org != self.scope.org):
                settled.append(RunCase(run, NotRead("its infrastructure pid leads nowhere")))
                continue
            if run.command is not None and not self.scope.holds(run.command.workload_ref):
                continue
            if (
                job is None
                and run.pid is None
                and not match.needs_search(run, clocks, self.policy.record_after)
            ):
                settled.append(RunCase(run, NoJob(complete=False)))
            elif job is None or match.needs_history(run, job, clocks):
                open_.append(run)
            else:
                settled.append(RunCase(run, job))
        opened = await each(lambda run: self._with_attempt(run, memory), open_)
        return settled + await self._look_up(opened, by_run, lists, clocks)

    async def _with_attempt(self, run: RunView, memory: Memory) -> RunView:
        """Return a run with its attempt, which stays the same as long as its state does."""
        since, attempt = memory.attempts.get(run.id, (None, None))
        if since != run.since:
            attempt = match.attempt_of(await self.runs.states(run.id))
        return replace(run, attempt=attempt)

    async def _look_up(
        self,
        opened: Collection[RunView],
        by_run: Mapping[UUID, list[JobView]],
        lists: Lists,
        clocks: Clocks,
    ) -> list[RunCase]:
        listed = {run.id: match.newest(by_run.get(run.id, ()), run, clocks) for run in opened}
        read = await self._read_all(
            (run.command for run in opened if run.command and listed[run.id] is None), lists
        )

        def of(run: RunView) -> Lookup:
            by_pid = read.get(run.command) if run.command else None
            return listed[run.id] or by_pid or NoJob(complete=False)

        looked_up = [of(run) for run in opened]
        cases: list[RunCase] = []
        searched: list[RunView] = []
        for run, job in zip(opened, looked_up, strict=True):
            match job:
                case JobView() if not self.scope.is_of_agent(job):
                    continue
                case JobView() if match.is_of_attempt(job, run, clocks) or (
                    job.role is Role.JOB and not run.in_pool
                ):
                    cases.append(RunCase(run, job))
                case NotRead():
                    cases.append(RunCase(run, job))
                case NotFound() if run.attempt is None or run.attempt.number == 0:
                    cases.append(RunCase(run, job))
                case _:
                    searched.append(run)
        return cases + await self._search(
            searched, dict(zip((run.id for run in opened), looked_up, strict=True)), lists, clocks
        )

    async def _search(
        self,
        runs: Collection[RunView],
        looked_up: Mapping[UUID, Lookup],
        lists: Lists,
        clocks: Clocks,
    ) -> list[RunCase]:
        """Search all lists for ended commands of runs whose pid does not show their attempt."""
        patient = [
            run for run in runs if not match.needs_search(run, clocks, self.policy.record_after)
        ]
        cases = [RunCase(run, NoJob(complete=False)) for run in patient]
        sought = [run for run in runs if match.needs_search(run, clocks, self.policy.record_after)]
        if not sought:
            return cases
        found, complete = await self._containers(sought, lists, clocks)
        newest = await each(self._with_ending, (match.newest(found, run, clocks) for run in sought))
        for run, job in zip(sought, newest, strict=True):
            missing = looked_up[run.id]
            gone = (
                missing
                if isinstance(missing, NotFound) and not self._awaits_its_first_command(run)
                else None
            )
            cases.append(RunCase(run, job or gone or NoJob(complete)))
        return cases

    async def _with_ending(self, job: JobView | None) -> Lookup | None:
        return await self.read(job.ref) if job is not None and job.stage == Stage.FAILED else job

    async def search(self, runs: Collection[RunView], clocks: Clocks) -> dict[UUID, Lookup]:
        """Search all lists once more for the containers of runs that seem to have none."""
        found, complete = await self._containers(runs, await self._lists(), clocks)
        return {run.id: match.newest(found, run, clocks) or NoJob(complete) for run in runs}

    async def _containers(
        self, runs: Collection[RunView], lists: Lists, clocks: Clocks
    ) -> tuple[list[JobView], bool]:
        """Return every container young enough for these runs, and whether none can be missing."""
        oldest = min(run.attempt.since if run.attempt else run.since for run in runs)
        since = clocks.in_platform(oldest) - CLOCK_SKEW

        async def containers(workload: WorkloadRef) -> list[JobView] | None:
            try:
                found = await commands.containers_since(self.client, workload, since)
            except NotFoundError:
                return []
            except CplnError:
                return None
            return [job_view(workload, command) for command in found]

        found = await each(containers, lists.workloads)
        complete = lists.is_read and self.scope.is_whole and all(jobs is not None for jobs in found)
        return [job for jobs in found for job in jobs or ()], complete

    @staticmethod
    def _awaits_its_first_command(run: RunView) -> bool:
        # Only while a run is pending can the pid be that of an earlier attempt, because nobody has
        # recorded the new job yet.
        return run.state is RunState.PENDING

    async def _callers(
        self,
        flows: Collection[RunView],
        but: Collection[UUID],
        lists: Lists,
        clocks: Clocks,
        memory: Memory,
    ) -> tuple[tuple[CallerCase, ...], tuple[RunCase, ...]]:
        """Return runs of ``run_namespaced_job`` whose job has ended, each with that job.

        Their process should have reported. Those in a container of their own, whose work pool was
        deleted, are returned separately, with that container.
        """
        if TO_PREFECT not in self.areas:
            return (), ()
        found = {run: run.command for run in flows if run.id not in but and not run.is_final}
        wanted = {
            run: ref
            for run, ref in found.items()
            if ref is not None and self.scope.holds(ref.workload_ref)
        }
        read = await self._read_all(wanted.values(), lists)
        cases = [CallerCase(run, read[ref]) for run, ref in wanted.items()]
        contained = {
            case.run: case.job
            for case in cases
            if isinstance(case.job, JobView) and case.job.role is Role.CONTAINER
        }
        with_attempts = await each(lambda run: self._with_attempt(run, memory), contained)
        jobs = zip(with_attempts, contained.values(), strict=True)
        return (
            tuple(case for case in cases if case.run not in contained),
            tuple(RunCase(run, job) for run, job in jobs if match.is_of_attempt(job, run, clocks)),
        )

    async def _read_all(self, refs: Iterable[CommandRef], lists: Lists) -> dict[CommandRef, Lookup]:
        """Read commands; for a workload that is gone, one look at the workload is enough."""
        wanted = list(dict.fromkeys(refs))
        missing = (
            list({ref.workload_ref for ref in wanted} - set(lists.workloads))
            if lists.is_read
            else []
        )
        gone = {
            workload
            for workload, is_gone in zip(missing, await each(self._is_gone, missing), strict=True)
            if is_gone
        }
        there = [ref for ref in wanted if ref.workload_ref not in gone]
        read = dict(zip(there, await each(self.read, there), strict=True))
        return {ref: read.get(ref) or NotFound(ref) for ref in wanted}

    async def _is_gone(self, workload: WorkloadRef) -> bool:
        try:
            await workloads.read(self.client, workload, repeat=Repeat.NEVER)
        except NotFoundError:
            return True
        except CplnError:
            return False  # reading its commands will show it
        return False

    async def read(self, ref: CommandRef) -> Lookup:
        """Read one command and, if it has failed, how it ended."""
        try:
            command = await commands.read(self.client, ref, repeat=Repeat.NEVER)
        except NotFoundError:
            return await self._forgotten(ref)
        except CplnError as error:
            return NotRead(str(error))
        job = job_view(ref.workload_ref, command)
        return (
            await self._as_ended(job, command) if command.lifecycle_stage == Stage.FAILED else job
        )

    async def _forgotten(self, ref: CommandRef) -> Lookup:
        """Read a job from its execution, because the command itself is not there.

        How long the platform keeps commands is not documented. A command that is missing in one
        response is not gone while an execution of it is listed.
        """
        try:
            for here in await workloads.deployments(self.client, ref.workload_ref):
                execution = here.execution_of(ref.command_id)
                if execution is not None:
                    return await self._of_execution(ref, execution, here.name)
        except NotFoundError:
            return NotFound(ref)
        except CplnError as error:
            return NotRead(str(error))
        return NotFound(ref)

    async def _of_execution(
        self, ref: CommandRef, execution: JobExecution, location: str
    ) -> JobView:
        created = execution.start_time or EVER
        changed = execution.completion_time or created
        main, restarts = await self._main_of(ref, execution)
        end = ending.forgotten_ending(execution, main, restarts=restarts)
        if end is not None:
            return JobView(ref, end.stage, created, changed, location, ending=end.describe())
        stage = _STAGE_OF_EXECUTION.get(execution.status, Stage.RUNNING)
        return JobView(ref, stage, created, changed, location, execution.replica)

    async def _as_ended(self, job: JobView, command: Command) -> Lookup:
        """Return a job with the end of its main container, which may differ from the command's.

        The command has failed; the main container need not have.
        """
        try:
            deployed = await workloads.deployment(
                self.client, job.ref.workload_ref, job.location or ""
            )
            execution = deployed.execution_of(command.id)
            name = (await self._main_of(job.ref, execution))[0] if execution else ""
        except (NotFoundError, ForbiddenError):
            return job  # no later look would reveal more
        except CplnError as error:
            return NotRead(f"how its main container ended: {error}")
        main = ending.main_ended(execution, name)
        if main is not None and main.restarts.exit_code == 0:
            end = ending.main_ending(main)
            return replace(job, stage=end.stage, ending=end.describe())
        return replace(job, ending=ending.ending_of(command, execution, name).describe())

    async def _main_of(self, ref: CommandRef, execution: JobExecution) -> tuple[str, bool]:
        """Return the name of the main container, and whether it starts again after a failure."""
        names = list(execution.containers)
        only = names[0] if len(names) == 1 else ""
        if only and not execution.is_active:
            return only, False
        try:
            workload = await workloads.read(self.client, ref.workload_ref)
        except NotFoundError:
            return next(iter(names), ""), False  # the execution outlives its workload for a moment
        return only or workload.main_container or next(iter(names), ""), workload.restarts

    # What jobs need

    async def _job_cases(
        self,
        jobs: Collection[JobView],
        known: Mapping[UUID, RunView],
        installation: UUID,
        clocks: Clocks,
        memory: Memory,
    ) -> list[JobCase]:
        of_runs = [job for job in jobs if job.run_id is not None and self.scope.is_of_agent(job)]
        wanted = {job.run_id for job in of_runs if job.run_id is not None} - known.keys()
        runs = {**known, **await self.runs.by_ids(wanted)}
        cases = [
            JobCase(job, runs.get(job.run_id) or UnknownRun())
            for job in of_runs
            if job.run_id is not None
        ]
        cases = await self.family.of_jobs(await self.family.in_pool(cases))
        return self._with_escalations(await self._with_stops(cases, installation, clocks), memory)

    @staticmethod
    def _with_escalations(cases: list[JobCase], memory: Memory) -> list[JobCase]:
        """Add how often each job was already reported as not ending."""
        reported = frozenset(memory.reported)
        if not reported:
            return cases

        def times(case: JobCase) -> int:
            numbers = range(standing.MOST_ESCALATIONS, 0, -1)
            return next(
                (
                    number
                    for number in numbers
                    if ReportKey.ESCALATED.of(case.job.ref, number) in reported
                ),
                0,
            )

        return [replace(case, escalations=times(case)) if case.stop else case for case in cases]

    async def _with_stops(
        self, cases: list[JobCase], installation: UUID, clocks: Clocks
    ) -> list[JobCase]:
        """Add the earlier stops, which the platform keeps as commands, to jobs to be stopped."""
        doomed = [case for case in cases if self._would_stop(case, installation, clocks)]
        since = _since(case.job for case in doomed)
        found = await each(self._stops, since.items())
        stops = {
            replica: stop for some in found if some is not None for replica, stop in some.items()
        }
        unread = {workload for workload, some in zip(since, found, strict=True) if some is None}
        told = {case.job.ref for case in doomed}
        if not doomed:
            return cases
        return [
            replace(case, run=NotRead("the stops sent before could not be read"))
            if case.job.ref in told and case.job.ref.workload_ref in unread
            else replace(case, stop=stops.get(case.job.replica or ""))
            for case in cases
        ]

    def _would_stop(self, case: JobCase, installation: UUID, clocks: Clocks) -> bool:
        return case.job.replica is not None and standing.must_end(
            case, installation, self.scope, self.policy, clocks
        )

    async def stop_of(self, job: JobView) -> Stop | None:
        """Return the stops sent to a job so far."""
        stops = await self._stops((job.ref.workload_ref, job.created))
        return (stops or {}).get(job.replica or "")

    async def _stops(self, asked: tuple[WorkloadRef, datetime]) -> dict[str, Stop] | None:
        workload, since = asked
        try:
            sent = await commands.stops_since(self.client, workload, since - CLOCK_SKEW)
        except CplnError:
            return None
        stops: dict[str, Stop] = {}
        for command in sent:
            replica = command.spec.replica or ""
            before = stops.get(replica)
            first, times = (before.first, before.times + 1) if before else (command.created, 1)
            stops[replica] = Stop(first, command.created, times)
        return stops

    # What became of jobs that were sent a stop

    async def _ended(self, lists: Lists, memory: Memory, clocks: Clocks) -> tuple[Ended, ...]:
        active = {job.ref for job in lists.jobs}
        unread = {unread.workload for unread in lists.unread}
        awaited = dict(memory.stopping)
        if memory.first_cycle:
            awaited |= await self._stopped_lately(lists, clocks)
        over = [ref for ref in awaited if ref not in active and ref.workload_ref not in unread]
        unreported = [ref for ref in over if ReportKey.STOPPED.of(ref) not in memory.reported]
        looked_up = await each(self.read, unreported)
        ended = [job for job in looked_up if isinstance(job, JobView) and not job.is_active]
        stops = await self._stops_of(ended)
        return tuple(Ended(job, stops.get(job.ref, awaited[job.ref])) for job in ended)

    async def _stops_of(self, jobs: Collection[JobView]) -> dict[CommandRef, Stop]:
        """Return the platform's record of stops, so that all processes report the same duration."""
        since = _since(jobs)
        found = await each(self._stops, since.items())
        return {
            workload.command(command_id): stop
            for workload, stops in zip(since, found, strict=True)
            for replica, stop in (stops or {}).items()
            if (command_id := command_of_replica(replica))
        }

    async def _stopped_lately(self, lists: Lists, clocks: Clocks) -> dict[CommandRef, Stop]:
        """Return the jobs that were sent a stop in the last two intervals.

        The previous process may have missed their end.
        """
        since = clocks.platform - 2 * self.policy.interval
        active = {job.replica for job in lists.jobs}
        found = await each(self._stops, ((workload, since) for workload in lists.workloads))
        lately: dict[CommandRef, Stop] = {}
        for workload, stops in zip(lists.workloads, found, strict=True):
            for replica, stop in (stops or {}).items():
                command_id = command_of_replica(replica)
                if command_id and replica not in active:
                    lately[workload.command(command_id)] = stop
        return lately


def _since(jobs: Iterable[JobView]) -> dict[WorkloadRef, datetime]:
    """Return when the oldest of the jobs of each workload was created."""
    since: dict[WorkloadRef, datetime] = {}
    for job in jobs:
        workload = job.ref.workload_ref
        since[workload] = min(job.created, since.get(workload, job.created))
    return since


def job_view(workload: WorkloadRef, command: Command) -> JobView:
    """Return a command of type ``runCronWorkload`` as the decisions see it.

    Tags that cannot be parsed count as absent.
    """
    tags = command.tags
    return JobView(
        ref=workload.command(command.id),
        stage=command.lifecycle_stage,
        created=command.created,
        changed=command.last_modified or command.created,
        location=command.spec.location,
        replica=command.status.replica,
        run_id=_uuid(tags.get(identifiers.FLOW_RUN_ID)),
        role=_role(tags.get(identifiers.ROLE)),
        attempt=_number(tags.get(identifiers.ATTEMPT)),
        submission=_uuid(tags.get(identifiers.SUBMISSION)),
        installation=_uuid(tags.get(identifiers.INSTALLATION)),
        agent=tags.get(identifiers.AGENT),
        flow_name=tags.get(identifiers.FLOW_NAME),
    )


def command_of_replica(replica: str) -> str | None:
    """Return the id of the command that a replica belongs to, which is part of its name.

    >>> command_of_replica("command-9b38a647-cd2b-47e7-987b-8c4f8b114be6-x7k2p")
    '9b38a647-cd2b-47e7-987b-8c4f8b114be6'
    """
    found = _REPLICA.search(replica)
    return found.group() if found else None


@lru_cache(maxsize=16)
def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _role(text: str | None) -> Role | None:
    return _ROLES.get(text or "")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
