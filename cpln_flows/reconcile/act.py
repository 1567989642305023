"""Carry out a plan: look again before each action, never force a state, survive failures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never
from uuid import UUID

from cpln_flows.api import commands
from cpln_flows.concurrency import each
from cpln_flows.errors import ConflictError
from cpln_flows.logger import Journal, Logger
from cpln_flows.model.identifiers import Area
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile import decide
from cpln_flows.reconcile.actions import (
    Action,
    Alert,
    CountMiss,
    Escalate,
    ForgetMisses,
    Keep,
    Propose,
    RecordPid,
    ReportEnd,
    SendStop,
    Subject,
    is_change,
    report_key,
    row,
    would,
)
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.plan import Plan
from cpln_flows.reconcile.report_keys import ReportKey
from cpln_flows.reconcile.snapshot import (
    CallerCase,
    ChildCase,
    Clocks,
    JobCase,
    JobView,
    Lookup,
    Memory,
    NoJob,
    NotFound,
    RunCase,
    RunView,
    Snapshot,
    Stop,
    UnknownRun,
)

_AT_ONCE = 10  # more at once do not raise the throughput of Prefect's server
_MOST_SHOWN = 1000


@dataclass(frozen=True)
class Outcome:
    """The result of an action; ``said`` explains why it was not done."""

    action: Action
    done: bool
    said: str = ""
    failed: bool = False

    @property
    def report_key(self) -> str | None:
        """The key of the report about this outcome, so that it is reported once."""
        action = self.action
        if not self.done:
            return ReportKey.UNDONE.of(action.kind, action.run_id, action.command, self.said)
        return report_key(action)


@dataclass
class Actor:
    """Carries out plans.

    Args:
        observer: Reads both sides again.
        clocks: Returns what both servers' clocks show now.
        logger: Where the log lines go.
    """

    observer: Observer
    clocks: Callable[[], Clocks]
    logger: Logger = field(default_factory=lambda: logging.getLogger("cpln_flows"))
    _found: dict[UUID, Lookup] = field(default_factory=dict)
    _reported: frozenset[str] = frozenset()
    _ended: dict[UUID, RunState] = field(default_factory=dict)
    _flow_names: dict[UUID, str] = field(default_factory=dict)

    async def act(self, plan: Plan, reported: Collection[str] = ()) -> tuple[Outcome, ...]:
        """Carry out a plan and return the outcomes; a withheld plan is left untouched.

        Args:
            plan: What to do.
            reported: Keys of earlier reports. An action that again is not done for the same reason
                is not reported again.
        """
        if plan.withheld:
            return ()
        self._reported = frozenset(reported)
        await self._learn_flow_names(plan)
        first = [action for action in plan.actions if not isinstance(action, SendStop | Escalate)]
        then = [action for action in plan.actions if isinstance(action, SendStop | Escalate)]
        without = [
            run for action in first if is_change(action) and (run := _without_job(action.subject))
        ]
        # A search takes a request per workload, so one search serves all runs without a job.
        self._found = await self.observer.search(without, self.clocks()) if without else {}
        done = await each(self._attempt, first, at_once=_AT_ONCE)
        await self._end_below(done)
        return (*done, *await each(self._attempt, then, at_once=_AT_ONCE))

    async def show(self, plan: Plan) -> list[dict[str, str]]:
        """Log what a plan would do and return it as rows."""
        await self._learn_flow_names(plan)
        for action in plan.actions[:_MOST_SHOWN]:
            self._journal(action).info(
                action.area, f"dry run, would {would(action)}: {action.reason}"
            )
        if (others := len(plan.actions) - _MOST_SHOWN) > 0:
            Journal(self.logger).info(
                Area.SYNC_TO_PREFECT, f"dry run, {others} further actions are in the flow's result"
            )
        return [row(action, self._flow_name(action)) for action in plan.actions]

    async def _learn_flow_names(self, plan: Plan) -> None:
        """Read the flow names that the jobs do not carry; known names are not read again."""
        runs = [
            action.run
            for action in plan.actions
            if action.run and not (action.job and action.job.flow_name)
        ]
        unknown = {run.flow_id for run in runs if run.flow_id is not None} - self._flow_names.keys()
        if not unknown:
            return
        try:
            self._flow_names |= await self.observer.runs.flow_names(unknown)
        except Exception as error:  # noqa: BLE001 - the lines carry the run's id anyway
            Journal(self.logger).debug(
                Area.SYNC_TO_PREFECT,
                f"the names of {len(unknown)} flows could not be read: {error}",
            )

    async def _attempt(self, action: Action) -> Outcome:
        try:
            outcome = await self._carry_out(action)
        except Exception as error:  # noqa: BLE001 - a failed action must not block the others
            outcome = Outcome(action, done=False, said=str(error), failed=True)
        self._tell(outcome)
        return outcome

    async def _carry_out(self, action: Action) -> Outcome:
        match action:
            case CountMiss(subject=RunCase(run=run) | CallerCase(run=run)):
                return await self._count(action, run)
            case ForgetMisses(subject=RunCase(run=run) | CallerCase(run=run)):
                return await self._count(action, run)
            case RecordPid():
                return await self._record_pid(action)
            case Propose():
                return await self._propose(action)
            case SendStop() | Escalate():
                return await self._stop(action)
            case Keep() | ReportEnd() | Alert():
                return Outcome(action, done=True)
            case _:
                assert_never(action)

    async def _count(self, action: CountMiss | ForgetMisses, run: RunView) -> Outcome:
        misses = decide.noted(run.misses, action, self.clocks().prefect)
        if misses is not None:
            await self.observer.runs.count_misses(run.id, misses)
        return Outcome(action, done=True)

    async def _record_pid(self, action: RecordPid) -> Outcome:
        if changed := await self._changed_run(action, action.subject):
            return Outcome(action, done=False, said=changed)
        await self.observer.runs.record_pid(action.subject.run.id, action.ref.pid)
        return Outcome(action, done=True)

    # Prefect's states

    async def _end_below(self, done: Sequence[Outcome]) -> None:
        """End the task runs of all ended flow runs at once; the next cycle retries what fails."""
        for outcome in done:
            action = outcome.action
            if (
                outcome.done
                and action.run is not None
                and isinstance(action, Propose)
                and is_change(action)
            ):
                self._ended[action.run.id] = action.state
        if not self._ended:
            return
        try:
            await self.observer.runs.end_below(self._ended)
        except Exception as error:  # noqa: BLE001 - the flow runs have their states; the stops must still be sent
            Journal(self.logger).warning(
                Area.SYNC_TO_PREFECT, f"task runs could not be ended, will retry: {error}"
            )
        else:
            self._ended = {}

    async def _propose(self, action: Propose) -> Outcome:
        changed = await self._changed(action)
        if changed or action.run is None:
            return Outcome(action, done=False, said=changed or "there is no flow run")
        proposed = await self.observer.runs.propose(
            action.run.id, action.state, action.state_name, action.reason
        )
        return Outcome(action, done=proposed.accepted, said=proposed.said)

    async def _changed(self, action: Propose) -> str | None:
        """Look at the subject again; return what has changed if the action is no longer right."""
        match action.subject:
            case ChildCase():
                return await self._changed_child(action, action.subject)
            case JobCase():
                return await self._changed_job(action, action.subject)
            case RunCase() | CallerCase():
                return await self._changed_run(action, action.subject)
            case _:
                assert_never(action.subject)

    async def _changed_child(self, action: Action, child: ChildCase) -> str | None:
        fresh = await self.observer.family.again(child)
        if fresh is None:
            return "Prefect does not know one of the flow runs any more"
        now = decide.of_child(fresh, self.observer.policy, self.clocks())
        return None if now.kind is action.kind else f"changed meanwhile: {now.reason}"

    async def _changed_run(self, action: Action, case: RunCase | CallerCase) -> str | None:
        """Read both sides again; return what has changed if the action is no longer right."""
        fresh = (await self.observer.runs.by_ids([case.run.id])).get(case.run.id)
        if fresh is None:
            return "Prefect does not know the flow run any more"
        run, job = replace(fresh, attempt=case.run.attempt), await self._job_again(case)
        scope, policy = self.observer.scope, self.observer.policy
        if isinstance(case, CallerCase):
            now = decide.of_caller(CallerCase(run, job), scope, policy, self.clocks())
        else:
            now = decide.of_run(run, job, scope, policy, self.clocks())
        return None if now.kind is action.kind else f"changed meanwhile: {now.reason}"

    async def _job_again(self, case: RunCase | CallerCase) -> Lookup:
        known = case.job
        if not isinstance(known, JobView | NotFound):
            return self._found.get(case.run.id, NoJob(complete=False))
        job: Lookup = await self.observer.read(known.ref)
        if isinstance(job, JobView) and isinstance(known, JobView) and known.ending:
            return replace(job, ending=known.ending)
        return job

    # The platform's jobs

    async def _stop(self, action: SendStop | Escalate) -> Outcome:
        job = action.subject.job
        if changed := await self._changed_job(action, action.subject):
            return Outcome(action, done=False, said=changed)
        self._journal(action).info(action.area, f"Sending stopReplica: {action.reason}")
        try:
            await commands.stop(
                self.observer.client,
                job.ref.workload_ref,
                location=job.location or "",
                replica=job.replica or "",
            )
        except ConflictError:
            return Outcome(action, done=True, said="a stop is already under way")
        return Outcome(action, done=True)

    async def _changed_job(self, action: Action, case: JobCase) -> str | None:
        job = case.job
        if job.run_id is None:
            return "there is no job"
        seen = await self.observer.read(job.ref)
        if not isinstance(seen, JobView):
            return (
                "the job no longer exists"
                if isinstance(seen, NotFound)
                else "the job could not be read"
            )
        run = (await self.observer.runs.by_ids([job.run_id])).get(job.run_id)
        fresh = replace(
            case, job=seen, run=run or UnknownRun(), stop=await self.observer.stop_of(seen)
        )
        installation = job.installation  # it was judged to be ours, which cannot change
        actions = decide.of_job(
            fresh, installation, self.observer.scope, self.observer.policy, self.clocks()
        )
        if any(now.kind is action.kind for now in actions):
            return None
        return f"changed meanwhile: {actions[0].reason}"

    # Reports

    def _tell(self, outcome: Outcome) -> None:
        action, journal = outcome.action, self._journal(outcome.action)
        what = f"Marking as {action.state}" if isinstance(action, Propose) else str(action.kind)
        if outcome.report_key in self._reported:
            journal.debug(action.area, f"{what}: {outcome.said or action.reason}")
        elif outcome.failed:
            journal.warning(action.area, f"{what} failed: {outcome.said}")
        elif not outcome.done:
            journal.info(action.area, f"{what} was not done: {outcome.said}")
        else:
            _tell_done(action, journal, what, outcome.said)

    def _journal(self, action: Action) -> Journal:
        return Journal(self.logger, action.context(self._flow_name(action)))

    def _flow_name(self, action: Action) -> str | None:
        flow_id = action.run.flow_id if action.run else None
        return self._flow_names.get(flow_id) if flow_id else None


def _tell_done(action: Action, journal: Journal, what: str, said: str) -> None:
    match action:
        case CountMiss() | Alert():
            journal.warning(action.area, action.reason)
        case Escalate():
            journal.error(action.area, action.reason)
        case ReportEnd():
            journal.info(action.area, action.reason)
        case SendStop() | ForgetMisses() | Propose(state=RunState.PENDING):
            journal.debug(action.area, f"{what}: {said or action.reason}")
        case Propose() | RecordPid() | Keep():
            journal.info(action.area, f"{what}: {action.reason}")
        case _:
            assert_never(action)


def _without_job(subject: Subject) -> RunView | None:
    """Return the run if its job was in no list."""
    if isinstance(subject, RunCase | CallerCase) and not isinstance(
        subject.job, JobView | NotFound
    ):
        return subject.run
    return None


def news(plan: Plan, memory: Memory) -> Plan:
    """Return a plan without the reports that were made earlier."""
    reported = frozenset(memory.reported)
    new = (
        action
        for action in plan.actions
        if not isinstance(action, Alert | ReportEnd) or report_key(action) not in reported
    )
    return replace(plan, actions=tuple(new))


def remember(snapshot: Snapshot, outcomes: Sequence[Outcome], before: Memory) -> Memory:
    """Return what the next cycle is to know; a blind cycle passes on what it knew itself."""
    if snapshot.is_blind:
        return before
    stopping = {case.job.ref: case.stop for case in snapshot.jobs if case.stop is not None}
    for outcome in outcomes:
        action = outcome.action
        if isinstance(action, SendStop) and outcome.done:
            stopping[action.subject.job.ref] = Stop(
                snapshot.clocks.platform, snapshot.clocks.platform
            )
    attempts = {
        case.run.id: (case.run.since, case.run.attempt)
        for case in snapshot.runs
        if case.run.attempt
    }
    reports = [key for outcome in outcomes if (key := outcome.report_key)]
    memory = Memory(
        stopping, attempts, before.reported, snapshot.pooled, snapshot.outside, first_cycle=False
    )
    return memory.report(*reports)


def forget(memory: Memory, plan: Plan, snapshot: Snapshot, outcomes: Sequence[Outcome]) -> Memory:
    """Return a memory without the reports of what has passed; if it recurs, it is reported again.

    The reports of stopped jobs that have ended remain. If anything was not read, nothing is known
    to have changed.

    Args:
        memory: What was reported so far.
        plan: The plan, including what was reported earlier.
        snapshot: What was seen.
        outcomes: What came of the plan.
    """
    if plan.unread:
        return memory
    standing = {key for action in plan.actions if (key := report_key(action))}
    standing |= {key for outcome in outcomes if (key := outcome.report_key)}
    for case in snapshot.jobs:
        standing |= {
            ReportKey.ESCALATED.of(case.job.ref, number)
            for number in range(1, case.escalations + 1)
        }
    lasting = (ReportKey.STOPPED, ReportKey.SKEW)
    return replace(
        memory,
        reported=tuple(
            key for key in memory.reported if key in standing or key.startswith(lasting)
        ),
    )
