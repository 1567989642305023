"""Carrying out a plan: look once more right before each action, never force a state, go on when one action fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from cpln_flows.api import commands
from cpln_flows.concurrency import each
from cpln_flows.errors import ConflictError
from cpln_flows.jobs.journal import Journal, Logger
from cpln_flows.model.identifiers import Area
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile import decide
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.plan import PROPOSALS, WOULD, Action, Kind, Plan, Report
from cpln_flows.reconcile.snapshot import (
    ChildCase,
    Clocks,
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

_AT_ONCE = 10  # Prefect's server takes no more changes a second from more clients at once
_MOST_SHOWN = 1000
_STOPS = frozenset({Kind.STOP, Kind.ESCALATE})


@dataclass(frozen=True)
class Outcome:
    """What came of an action; ``said`` tells why it was not done."""

    action: Action
    done: bool
    said: str = ""
    failed: bool = False

    @property
    def report_key(self) -> str | None:
        """What names the report that is made of it, so that it is made once."""
        action = self.action
        if not self.done:
            return Report.UNDONE.key(action.kind, action.run_id, action.command, self.said)
        return action.report_key


@dataclass
class Actor:
    """Carries out plans.

    Args:
        observer: How to look again.
        clocks: What both servers' clocks show now.
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
        """Do what a plan says and return what came of it; a plan that is withheld is not touched.

        Args:
            plan: What to do.
            reported: Keys of what was reported before; that an action is not done for the same reason is not reported twice.
        """
        if plan.withheld:
            return ()
        self._reported = frozenset(reported)
        await self._learn_flow_names(plan)
        first = [action for action in plan.actions if action.kind not in _STOPS]
        then = [action for action in plan.actions if action.kind in _STOPS]
        without = [action.run for action in first if action.run and not action.command and not action.child and action.is_change]
        # It takes a request for each workload to look for what is nowhere, so that look is taken once for all of them.
        self._found = await self.observer.search(without, self.clocks()) if without else {}
        done = await each(self._attempt, first, at_once=_AT_ONCE)
        await self._end_below(done)
        return (*done, *await each(self._attempt, then, at_once=_AT_ONCE))

    async def show(self, plan: Plan) -> list[dict[str, str]]:
        """Log what a plan would do, and return it as rows."""
        await self._learn_flow_names(plan)
        for action in plan.actions[:_MOST_SHOWN]:
            self._journal(action).info(action.area, f"dry run, would {WOULD[action.kind]}: {action.reason}")
        if (others := len(plan.actions) - _MOST_SHOWN) > 0:
            Journal(self.logger).info(Area.SYNC_TO_PREFECT, f"dry run, {others} further actions are in the flow's result")
        return [action.row(self._flow_name(action)) for action in plan.actions]

    async def _learn_flow_names(self, plan: Plan) -> None:
        """Learn the names of the flows whose runs are spoken of and whose jobs do not tell; a name that is known stays so."""
        runs = [action.run for action in plan.actions if action.run and not (action.job and action.job.flow_name)]
        unknown = {run.flow_id for run in runs if run.flow_id is not None} - self._flow_names.keys()
        if not unknown:
            return
        try:
            self._flow_names |= await self.observer.runs.flow_names(unknown)
        except Exception as error:  # noqa: BLE001 - the lines have the run's id all the same
            Journal(self.logger).debug(Area.SYNC_TO_PREFECT, f"the names of {len(unknown)} flows could not be read: {error}")

    async def _attempt(self, action: Action) -> Outcome:
        try:
            outcome = await self._carry_out(action)
        except Exception as error:  # noqa: BLE001 - one action that fails must not keep the others from being done
            outcome = Outcome(action, done=False, said=str(error), failed=True)
        self._tell(outcome)
        return outcome

    async def _carry_out(self, action: Action) -> Outcome:
        runs = self.observer.runs
        match action.kind:
            case Kind.COUNT | Kind.RESET if action.run:
                misses = decide.noted(action.run.misses, action, self.clocks().prefect)
                if misses is not None:
                    await runs.count_misses(action.run.id, misses)
            case Kind.RECORD_PID if action.run and action.job:
                changed = await self._changed_run(action)
                if changed:
                    return Outcome(action, done=False, said=changed)
                await runs.record_pid(action.run.id, action.job.ref.pid)
            case Kind.COMPLETE | Kind.CRASH | Kind.FAIL | Kind.CANCEL | Kind.PEND:
                return await self._propose(action)
            case Kind.STOP | Kind.ESCALATE:
                return await self._stop(action)
            case _:
                pass
        return Outcome(action, done=True)

    # Prefect's states

    async def _end_below(self, done: Sequence[Outcome]) -> None:
        """End the task runs of the runs that were ended, for all at once; what fails is tried again in the next cycle."""
        for outcome in done:
            action = outcome.action
            if outcome.done and action.run is not None and action.kind in PROPOSALS and action.is_change:
                self._ended[action.run.id] = PROPOSALS[action.kind]
        if not self._ended:
            return
        try:
            await self.observer.runs.end_below(self._ended)
        except Exception as error:  # noqa: BLE001 - the flow runs have their states; the stops must still be sent
            Journal(self.logger).warning(Area.SYNC_TO_PREFECT, f"task runs could not be ended, will retry: {error}")
        else:
            self._ended = {}

    async def _propose(self, action: Action) -> Outcome:
        changed = await self._changed(action)
        if changed or action.run is None:
            return Outcome(action, done=False, said=changed or "there is no flow run")
        state = PROPOSALS[action.kind]
        name = decide.INFRASTRUCTURE_PENDING if action.kind is Kind.PEND else None
        proposed = await self.observer.runs.propose(action.run.id, state, name, action.reason)
        return Outcome(action, done=proposed.accepted, said=proposed.said)

    async def _changed(self, action: Action) -> str | None:
        """Look again at what an action is about; say what is different now, if it is not right any more."""
        if action.child:
            return await self._changed_child(action, action.child)
        return await (self._changed_job(action) if action.case else self._changed_run(action))

    async def _changed_child(self, action: Action, child: ChildCase) -> str | None:
        fresh = await self.observer.family.again(child)
        if fresh is None:
            return "Prefect does not know one of the flow runs any more"
        now = decide.of_child(fresh, self.observer.policy, self.clocks())
        return None if now.kind is action.kind else f"changed meanwhile: {now.reason}"

    async def _changed_run(self, action: Action) -> str | None:
        """Look at both sides again; say what is different now, if the action is not right any more."""
        if action.run is None:
            return "there is no flow run"
        fresh = (await self.observer.runs.by_ids([action.run.id])).get(action.run.id)
        if fresh is None:
            return "Prefect does not know the flow run any more"
        case = await self._again(replace(fresh, attempt=action.run.attempt), action)
        scope, policy = self.observer.scope, self.observer.policy
        if action.caller:
            now = decide.of_caller(case, scope, policy, self.clocks())
        else:
            now = decide.of_run(case.run, case.job, scope, policy, self.clocks())
        return None if now.kind is action.kind else f"changed meanwhile: {now.reason}"

    async def _again(self, run: RunView, action: Action) -> RunCase:
        if action.command is None:
            return RunCase(run, self._found.get(run.id, NoJob(complete=False)))
        job: Lookup = await self.observer.read(action.command)
        if isinstance(job, JobView) and action.job is not None and action.job.ending:
            job = replace(job, ending=action.job.ending)
        return RunCase(run, job)

    # The platform's jobs

    async def _stop(self, action: Action) -> Outcome:
        job = action.job
        changed = await self._changed_job(action)
        if changed or job is None:
            return Outcome(action, done=False, said=changed or "there is no job")
        self._journal(action).info(action.area, f"Sending stopReplica: {action.reason}")
        try:
            await commands.stop(
                self.observer.client, job.ref.workload_ref, location=job.location or "", replica=job.replica or ""
            )
        except ConflictError:
            return Outcome(action, done=True, said="a stop is under way already")
        return Outcome(action, done=True)

    async def _changed_job(self, action: Action) -> str | None:
        case, job = action.case, action.job
        if case is None or job is None or job.run_id is None:
            return "there is no job"
        seen = await self.observer.read(job.ref)
        if not isinstance(seen, JobView):
            return "the job is not to be found any more" if isinstance(seen, NotFound) else "the job could not be read"
        run = (await self.observer.runs.by_ids([job.run_id])).get(job.run_id)
        fresh = replace(case, job=seen, run=run or UnknownRun(), stop=await self.observer.stop_of(seen))
        installation = job.installation  # that it is ours was decided; it cannot change
        actions = decide.of_job(fresh, installation, self.observer.scope, self.observer.policy, self.clocks())
        if any(now.kind is action.kind for now in actions):
            return None
        return f"changed meanwhile: {actions[0].reason}"

    # What is said about it

    def _tell(self, outcome: Outcome) -> None:
        action, journal = outcome.action, self._journal(outcome.action)
        what = _what(action)
        match action.kind:
            case _ if outcome.report_key in self._reported:
                journal.debug(action.area, f"{what}: {outcome.said or action.reason}")
            case _ if outcome.failed:
                journal.warning(action.area, f"{what} failed: {outcome.said}")
            case _ if not outcome.done:
                journal.info(action.area, f"{what} was not done: {outcome.said}")
            case Kind.COUNT:
                journal.warning(action.area, action.reason)
            case Kind.ESCALATE:
                journal.error(action.area, action.reason)
            case Kind.REPORT:
                journal.warning(action.area, action.reason)
            case Kind.STOP | Kind.PEND | Kind.RESET:
                journal.debug(action.area, f"{what}: {outcome.said or action.reason}")
            case Kind.STOPPED:
                journal.info(action.area, action.reason)
            case _:
                journal.info(action.area, f"{what}: {action.reason}")

    def _journal(self, action: Action) -> Journal:
        return Journal(self.logger, action.context(self._flow_name(action)))

    def _flow_name(self, action: Action) -> str | None:
        flow_id = action.run.flow_id if action.run else None
        return self._flow_names.get(flow_id) if flow_id else None


def _what(action: Action) -> str:
    return f"Marking as {PROPOSALS[action.kind]}" if action.kind in PROPOSALS else str(action.kind)


def news(plan: Plan, memory: Memory) -> Plan:
    """Return a plan without the reports that were made before."""
    quiet = (Kind.REPORT, Kind.STOPPED)
    reported = frozenset(memory.reported)
    new = (action for action in plan.actions if action.kind not in quiet or action.report_key not in reported)
    return replace(plan, actions=tuple(new))


def remember(snapshot: Snapshot, outcomes: Sequence[Outcome], before: Memory) -> Memory:
    """Return what the next cycle shall know; of a cycle that saw nothing, what that one knew."""
    if snapshot.is_blind:
        return before
    stopping = {case.job.ref: case.stop for case in snapshot.jobs if case.stop is not None}
    for outcome in outcomes:
        action = outcome.action
        if action.kind is Kind.STOP and outcome.done and action.job is not None:
            stopping[action.job.ref] = Stop(snapshot.clocks.platform, snapshot.clocks.platform)
    attempts = {case.run.id: (case.run.since, case.run.attempt) for case in snapshot.runs if case.run.attempt}
    reports = [key for outcome in outcomes if (key := outcome.report_key)]
    memory = Memory(stopping, attempts, before.reported, snapshot.pooled, snapshot.outside, first_cycle=False)
    return memory.report(*reports)


def forget(memory: Memory, plan: Plan, snapshot: Snapshot, outcomes: Sequence[Outcome]) -> Memory:
    """Return a memory without the reports of what is not so any more: that may be reported again when it comes back.

    That a stopped job has ended stays so. When something was not read, nothing is known to have changed.

    Args:
        memory: What was reported so far.
        plan: The plan, with what was reported before.
        snapshot: What was seen.
        outcomes: What came of the plan.
    """
    if plan.unread:
        return memory
    standing = {key for action in plan.actions if (key := action.report_key)}
    standing |= {key for outcome in outcomes if (key := outcome.report_key)}
    for case in snapshot.jobs:
        standing |= {Report.ESCALATED.key(case.job.ref, number) for number in range(1, case.escalations + 1)}
    lasting = (Report.STOPPED, Report.SKEW)
    return replace(memory, reported=tuple(key for key in memory.reported if key in standing or key.startswith(lasting)))
