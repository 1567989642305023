"""One maintenance run: validate once, then observe, decide and act for some cycles.

The decisions themselves are in ``decide``.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

import anyio
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from cpln_flows.api.client import CplnClient
from cpln_flows.concurrency import gathering
from cpln_flows.errors import CplnError, LimitExceededError, NotFoundError
from cpln_flows.logger import Journal, Logger
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.policy import Policy
from cpln_flows.prefect_api.clock import PrefectClock
from cpln_flows.reconcile import act, decide, evidence
from cpln_flows.reconcile.act import Actor, Outcome
from cpln_flows.reconcile.actions import Action, is_change, is_quiet
from cpln_flows.reconcile.cadence import Cadence
from cpln_flows.reconcile.clocks import ServerClocks
from cpln_flows.reconcile.flow_runs import PrefectFlowRuns
from cpln_flows.reconcile.notes import LastCycle, ReportedKeys
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.plan import Plan
from cpln_flows.reconcile.report_keys import ReportKey
from cpln_flows.reconcile.results import FlowResult
from cpln_flows.reconcile.snapshot import Memory, Scope, Snapshot, Unread

ARTIFACT = "cpln-sync"
_SIGN_EVERY = timedelta(minutes=4)  # a search through the logs of the last five minutes finds one


@dataclass
class Summary:
    """What a run has done."""

    cycles: int = 0
    changes: int = 0
    actions: int = 0
    unread: int = 0
    withheld: list[str] = field(default_factory=list)


class Reconciler:
    """Keeps both sides in agreement for as long as a flow runs.

    Args:
        observer: Reads both sides.
        clocks: Reads the clocks of both.
        cadence: Determines when the next cycle is due.
        successor: Returns when the next run of the same deployment is to start.
        logger: Where the log lines go.
        dry_run: Whether plans are shown instead of carried out.
        reported: Where the keys of reports are kept; default: nowhere beyond this run.
        last_cycle: Where the time of the last cycle is kept; default: nowhere.
        sleep: How to wait.
    """

    def __init__(
        self,
        observer: Observer,
        clocks: ServerClocks,
        cadence: Cadence,
        successor: Callable[[], Awaitable[datetime | None]],
        logger: Logger,
        *,
        dry_run: bool = False,
        reported: ReportedKeys | None = None,
        last_cycle: LastCycle | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.summary: Summary = Summary()
        self._observer = observer
        self._clocks = clocks
        self._actor = Actor(observer, clocks.now, logger)
        self._cadence = cadence
        self._successor = successor
        self._journal = Journal(logger)
        self._dry_run = dry_run
        self._sleep = sleep
        self._memory = Memory()
        self._successor_at: datetime | None = None
        self._began = clock()
        self._plan = Plan(clock())
        self._shown: Plan | None = None
        self._rows: list[dict[str, str]] = []
        self._signed: datetime | None = None
        self._last_cycle = last_cycle
        self._reported = reported
        self._kept: tuple[str, ...] = ()

    async def cycles(self) -> AsyncIterator[int]:
        """Yield the number of each cycle when it is due.

        Raises:
            LimitExceededError: A cycle would have changed too much; raised after the last one.
        """
        while True:
            began = clock()
            yield self.summary.cycles
            self.summary.cycles += 1
            if late := self._cadence.overrun(began, clock()):
                self._log(
                    logging.WARNING,
                    f"the cycle took {late.total_seconds():.1f} s longer than the interval"
                    " between two cycles",
                )
            due = self._cadence.next_cycle(
                began, self.summary.cycles, clock(), await self._next_start()
            )
            if due is None:
                break
            await self._sleep(max(0.0, (due - clock()).total_seconds()))
        if self.summary.withheld and not self._dry_run:
            raise LimitExceededError(
                f"nothing was changed in {len(self.summary.withheld)} of {self.summary.cycles}"
                f" cycles; the last time: {self.summary.withheld[-1]}. The artifact {ARTIFACT}"
                " shows the plan; raise max_changes or max_share if it is right"
            )

    async def observe(self) -> Snapshot:
        """Read both sides; the snapshot lists what cannot be read as unread, never as gone."""
        self._began = clock()
        try:
            clocks = await self._clocks.read()
            if self._memory.first_cycle and self._reported:
                self._kept = await self._reported.read()
                self._memory = replace(self._memory, reported=self._kept)
            self._report_skew()
            return await self._observer.snapshot(clocks, self._memory)
        except Exception as error:  # noqa: BLE001 - a blind cycle changes nothing
            self._log(
                logging.WARNING,
                f"could not take a snapshot, so this cycle changes nothing: {error}",
            )
            return Snapshot(
                self._clocks.now(), unread=(Unread("Prefect", str(error)),), is_blind=True
            )

    def decide(self, snapshot: Snapshot) -> Plan:
        """Return what follows from a snapshot and was not reported earlier."""
        with gathering():
            self._plan = decide.decide(
                snapshot, self._observer.scope, self._observer.policy, self._observer.areas
            )
        return act.news(self._plan, self._memory)

    async def act(self, snapshot: Snapshot, plan: Plan) -> tuple[Outcome, ...]:
        """Carry out a plan, unless in a dry run or withheld by the guard; leave the evidence."""
        self._report_unread(snapshot)
        if plan.withheld:
            is_new = plan.withheld not in self.summary.withheld
            self._log(
                logging.WARNING if is_new else logging.DEBUG, f"nothing is changed: {plan.withheld}"
            )
            self.summary.withheld.append(plan.withheld)
        outcomes = (
            await self._show(plan)
            if self._dry_run
            else await self._actor.act(plan, self._memory.reported)
        )
        await self._leave_evidence(plan, outcomes)
        done = [
            outcome.action for outcome in outcomes if outcome.done and not is_quiet(outcome.action)
        ]
        self.summary.actions += len(done)
        self.summary.changes += sum(is_change(action) for action in done)
        self.summary.unread += len(plan.unread)
        self._memory = act.forget(
            act.remember(snapshot, outcomes, self._memory), self._plan, snapshot, outcomes
        )
        await self._keep_reported(snapshot)
        await self._sign(snapshot, plan, done)
        return outcomes

    def result(self) -> FlowResult:
        """Return what the run has done, or in a dry run what the last cycle would have done."""
        counts = asdict(self.summary)
        if not self._dry_run:
            return FlowResult(counts)
        plan = self._shown or Plan(clock())
        said = [
            f"actions planned: {len(plan.actions)}, of which {len(plan.changes)} end a run or a job"
        ]
        said += [f"{plan.judged} runs and jobs checked"]
        said += [f"withheld: {plan.withheld}"] if plan.withheld else []
        said += [f"not read: {unread}" for unread in plan.unread]
        return FlowResult.of_dry_run(counts, "; ".join(said), self._rows)

    async def _show(self, plan: Plan) -> tuple[Outcome, ...]:
        """Log once what a plan would do, and carry out none of it."""
        if self._shown is None or plan.subjects != self._shown.subjects:
            self._rows = await self._actor.show(plan)
        return ()

    async def _sign(self, snapshot: Snapshot, plan: Plan, done: Sequence[Action]) -> None:
        """Leave a sign of life: a log line and the time of this cycle.

        The line is at INFO in the first cycle and every few minutes, and at DEBUG in between.
        """
        if snapshot.is_blind:
            return
        seconds = (clock() - self._began).total_seconds()
        count = (
            f"dry run, actions planned: {len(plan.actions)}"
            if self._dry_run
            else f"actions: {len(done)}"
        )
        seen = (
            f"{plan.judged} runs and jobs on {snapshot.workloads} workloads checked"
            f" in {seconds:.1f} s"
        )
        unread = f", {len(plan.unread)} could not be read" if plan.unread else ""
        is_due = self._signed is None or clock() - self._signed >= _SIGN_EVERY
        self._signed = clock() if is_due else self._signed
        self._log(logging.INFO if is_due else logging.DEBUG, f"{count}; {seen}{unread}")
        if self._last_cycle is None or self._dry_run:
            return
        try:
            await self._last_cycle.keep(
                {
                    "at": snapshot.clocks.prefect.isoformat(timespec="seconds"),
                    "seconds": round(seconds, 1),
                    "checked": plan.judged,
                    "workloads": snapshot.workloads,
                    "actions": len(done),
                    "unread": len(plan.unread),
                    "withheld": plan.withheld,
                }
            )
        except Exception as error:  # noqa: BLE001 - the next cycle tries again
            self._log(logging.WARNING, f"could not persist the time of this cycle: {error}")

    async def _next_start(self) -> datetime | None:
        """Return when the successor is to start, or the last known time if Prefect fails."""
        try:
            start = await self._successor()
            self._successor_at = self._clocks.here(start) if start else None
        except Exception as error:  # noqa: BLE001 - asked again after the next cycle
            self._log(logging.WARNING, f"could not read when the next run is to start: {error}")
        return self._successor_at

    def _report_skew(self) -> None:
        """Report once each server whose clock differs from this machine's, until both agree."""
        agreed = {ReportKey.SKEW.of(whose) for whose in self._clocks.agreed()}
        self._memory = replace(
            self._memory, reported=tuple(key for key in self._memory.reported if key not in agreed)
        )
        for whose, sentence in self._clocks.skews().items():
            if (key := ReportKey.SKEW.of(whose)) not in self._memory.reported:
                self._journal.warning(Area.INIT, sentence)
                self._memory = self._memory.report(key)

    def _report_unread(self, snapshot: Snapshot) -> None:
        """Report once what cannot be read, until it is read again."""
        for unread in snapshot.unread if not snapshot.is_blind else ():
            key = ReportKey.UNREAD.of(unread.what)
            level = logging.DEBUG if key in self._memory.reported else logging.WARNING
            self._log(level, f"skipped (unreadable): {unread}", unread.workload)
            self._memory = self._memory.report(key)

    async def _keep_reported(self, snapshot: Snapshot) -> None:
        """Persist the keys of what was reported, for the next process."""
        reported = self._memory.reported
        if self._reported is None or self._dry_run or snapshot.is_blind or reported == self._kept:
            return
        try:
            await self._reported.keep(reported)
            self._kept = reported
        except Exception as error:  # noqa: BLE001 - then it is reported again
            self._log(
                logging.WARNING, f"could not persist which reports were already made: {error}"
            )

    async def _leave_evidence(self, plan: Plan, outcomes: tuple[Outcome, ...]) -> None:
        reported = self._memory.reported
        try:
            evidence.events(outcomes)
            was_shown = self._shown is not None and plan.subjects == self._shown.subjects
            if outcomes or not was_shown:
                await evidence.changes(ARTIFACT, plan, outcomes, reported, dry_run=self._dry_run)
            self._shown = None if outcomes else plan
        except Exception as error:  # noqa: BLE001 - what was done is in the log; the next cycle must come
            self._log(logging.WARNING, f"the artifact {ARTIFACT} could not be written: {error}")

    def _log(self, level: int, message: str, about: WorkloadRef | None = None) -> None:
        journal = (
            self._journal.about(gvc=about.gvc, workload=about.name) if about else self._journal
        )
        write = {logging.DEBUG: journal.debug, logging.INFO: journal.info}.get(
            level, journal.warning
        )
        for area in sorted(self._observer.areas):
            write(area, message)


def clock() -> datetime:
    """Return this machine's time, which determines when to look again.

    Ages are judged by the servers' clocks.
    """
    return datetime.now(UTC)


@asynccontextmanager
async def reconciler(
    client: CplnClient,
    scope: Scope,
    policy: Policy,
    logger: Logger,
    *,
    areas: frozenset[Area],
    cycles: int,
    dry_run: bool,
) -> AsyncIterator[Reconciler]:
    """Open both sides for one flow run.

    Args:
        client: A client of the platform, not yet open.
        scope: What the flow looks at.
        policy: The thresholds.
        logger: Where the log lines go.
        areas: Which directions to reconcile.
        cycles: How many cycles to run if there is no successor.
        dry_run: Whether plans are shown instead of carried out.
    """
    async with client, get_client() as prefect:
        await validate(client, scope.org, scope.gvc, logger)
        runs = PrefectFlowRuns(prefect)

        async def successor() -> datetime | None:
            context = FlowRunContext.get()
            run = context.flow_run if context else None
            return (
                await runs.next_start(run.deployment_id, but=run.id)
                if run and run.deployment_id
                else None
            )

        observer = Observer(client, runs, scope, policy, areas)
        clocks = ServerClocks(PrefectClock(prefect), client)
        cadence = Cadence(clock(), policy.interval, cycles)
        reported = ReportedKeys.of(prefect, scope, areas)
        last_cycle = LastCycle.of(prefect, scope, areas)
        yield Reconciler(
            observer,
            clocks,
            cadence,
            successor,
            logger,
            dry_run=dry_run,
            reported=reported,
            last_cycle=last_cycle,
        )


async def validate(client: CplnClient, org: str, gvc: str | None, logger: Logger) -> None:
    """Make sure that token, org and GVC are right before anything is done with them.

    Raises:
        UnauthorizedError, ForbiddenError: The token is wrong or lacks a permission; the message
            names the fix.
        NotFoundError: There is no such org or GVC.
    """
    journal = Journal(logger, LogContext(gvc=gvc))
    what = f"organization {org}" + (f" and GVC {gvc}" if gvc else "")
    try:
        await client.get(f"/org/{org}")
        if gvc:
            await client.get(f"/org/{org}/gvc/{gvc}")
    except NotFoundError as error:
        journal.error(
            Area.INIT,
            f"{what} cannot be read: {error}; check org and gvc, or CPLN_ORG and CPLN_GVC",
        )
        raise
    except CplnError as error:
        journal.error(Area.INIT, f"{what} cannot be read: {error}")
        raise
    journal.debug(Area.INIT, f"the platform answers for {what}")
