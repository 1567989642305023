"""One maintenance run: validated once, then observe, decide and act for some cycles. What is decided stands in ``decide``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import anyio
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from cpln_flows.api.client import CplnClient
from cpln_flows.errors import CplnError, LimitExceededError, NotFoundError
from cpln_flows.jobs.journal import Journal, Logger
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.prefect_api.clock import PrefectClock
from cpln_flows.reconcile import act, decide, evidence
from cpln_flows.reconcile.act import Actor, Outcome
from cpln_flows.reconcile.cadence import Cadence
from cpln_flows.reconcile.clocks import ServerClocks
from cpln_flows.reconcile.decide import Policy
from cpln_flows.reconcile.flow_runs import PrefectFlowRuns
from cpln_flows.reconcile.notes import Notes
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.plan import QUIET, Plan
from cpln_flows.reconcile.snapshot import Memory, Scope, Snapshot
from cpln_flows.reconcile.together import gathering

ARTIFACT = "cpln-sync"


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
        observer: How both sides are read.
        clocks: How the clocks of both are read.
        cadence: When there is another cycle.
        successor: Tells when the next run of the same deployment is to start.
        logger: Where the log lines go.
        dry_run: Whether plans are shown and not carried out.
        notes: Where it is kept what was said once; default: nowhere beyond this run.
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
        notes: Notes | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.summary = Summary()
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
        self._notes = notes
        self._noted: frozenset[str] = frozenset()
        self._standing: frozenset[str] = frozenset()
        self._reported_skew = False

    async def cycles(self) -> AsyncIterator[int]:
        """Yield the number of each cycle when it is time for it.

        Raises:
            LimitExceededError: A cycle would have changed too much; raised after the last one.
        """
        while True:
            began = clock()
            yield self.summary.cycles
            self.summary.cycles += 1
            if late := self._cadence.overrun(began, clock()):
                self._say(f"the cycle took {late.total_seconds():.1f} s longer than the interval between two cycles", warn=True)
            due = self._cadence.next_cycle(began, self.summary.cycles, clock(), await self._next_start())
            if due is None:
                break
            await self._sleep(max(0.0, (due - clock()).total_seconds()))
        if self.summary.withheld:
            raise LimitExceededError(
                f"nothing was changed in {len(self.summary.withheld)} of {self.summary.cycles} cycles; the last time:"
                f" {self.summary.withheld[-1]}. The artifact {ARTIFACT} shows the plan; raise max_changes or max_share if it is"
                " right"
            )

    async def observe(self) -> Snapshot:
        """Read both sides; what cannot be read is in the snapshot as unread, and never as gone."""
        self._began = clock()
        try:
            clocks = await self._clocks.read()
            self._report_skew()
            if self._memory.first_cycle and self._notes:
                self._noted = await self._notes.read()
                self._memory = replace(self._memory, reported=self._noted)
            return await self._observer.snapshot(clocks, self._memory)
        except Exception as error:  # noqa: BLE001 - a cycle that sees nothing changes nothing; the next comes in a minute
            self._say(f"this cycle could not look: {error}", warn=True)
            return Snapshot(self._clocks.now(), unread=(f"Prefect: {error}",), is_blind=True)

    def decide(self, snapshot: Snapshot) -> Plan:
        """Return what follows from a snapshot."""
        with gathering():
            plan = decide.decide(snapshot, self._observer.scope, self._observer.policy, self._observer.areas)
        self._standing = act.standing(plan)
        return act.news(plan, self._memory)

    async def act(self, snapshot: Snapshot, plan: Plan) -> tuple[Outcome, ...]:
        """Carry out a plan, unless it is a dry run or the guard withholds it; leave the evidence."""
        for what in plan.unread:
            self._say(f"not read, so nothing follows from it: {what}", warn=True)
        if plan.withheld:
            self.summary.withheld.append(plan.withheld)
            self._say(f"nothing is changed: {plan.withheld}", warn=True)
        outcomes = () if self._dry_run else await self._actor.act(plan)
        await self._leave_evidence(plan, outcomes)
        done = [outcome.action for outcome in outcomes if outcome.done and outcome.action.kind not in QUIET]
        self.summary.actions += len(done)
        self.summary.changes += sum(action.is_change for action in done)
        self.summary.unread += len(plan.unread)
        self._memory = act.remember(snapshot, outcomes, self._memory)
        await self._note(plan)
        took = (clock() - self._began).total_seconds()
        self._say(f"{len(done)} actions; {plan.judged} runs and jobs on {snapshot.workloads} workloads looked at in {took:.1f} s")
        return outcomes

    async def _next_start(self) -> datetime | None:
        """Return when the successor is to start, as it was known last: an error of Prefect shall not end the run."""
        try:
            start = await self._successor()
            self._successor_at = self._clocks.here(start) if start else None
        except Exception as error:  # noqa: BLE001 - asked again after the next cycle
            self._say(f"when the next run is to start could not be read: {error}", warn=True)
        return self._successor_at

    def _report_skew(self) -> None:
        if self._reported_skew:
            return
        for sentence in self._clocks.skews():
            self._reported_skew = True
            self._journal.warning(Area.INIT, sentence)

    async def _note(self, plan: Plan) -> None:
        """Keep what was said, for the next process; what is not so any more may be said again when it comes back."""
        said = self._memory.reported if plan.unread else self._memory.reported & self._standing
        if self._notes is None or self._dry_run or said == self._noted:
            return
        try:
            await self._notes.keep(said)
            self._noted = said
        except Exception as error:  # noqa: BLE001 - it is said again then
            self._say(f"what was said could not be kept: {error}", warn=True)

    async def _leave_evidence(self, plan: Plan, outcomes: tuple[Outcome, ...]) -> None:
        try:
            evidence.events(outcomes)
            await evidence.table(ARTIFACT, plan, outcomes, dry_run=self._dry_run)
        except Exception as error:  # noqa: BLE001 - what was done is in the log; the next cycle shall come
            self._say(f"the artifact {ARTIFACT} could not be written: {error}", warn=True)

    def _say(self, message: str, *, warn: bool = False) -> None:
        for area in sorted(self._observer.areas):
            (self._journal.warning if warn else self._journal.debug)(area, message)


def clock() -> datetime:
    """Return this machine's time, which says when to look again; how old something is, the servers' clocks say."""
    return datetime.now(UTC)


@asynccontextmanager
async def reconciler(
    client: CplnClient, scope: Scope, policy: Policy, logger: Logger, *, areas: frozenset[Area], cycles: int, dry_run: bool
) -> AsyncIterator[Reconciler]:
    """Open both sides for one flow run.

    Args:
        client: A client of the platform, not yet open.
        scope: What is looked at.
        policy: The thresholds.
        logger: Where the log lines go.
        areas: Which directions.
        cycles: How many cycles there are without a successor.
        dry_run: Whether plans are shown and not carried out.
    """
    async with client, get_client() as prefect:
        await validate(client, scope.org, scope.gvc, logger)
        runs = PrefectFlowRuns(prefect)

        async def successor() -> datetime | None:
            context = FlowRunContext.get()
            run = context.flow_run if context else None
            return await runs.next_start(run.deployment_id, but=run.id) if run and run.deployment_id else None

        observer = Observer(client, runs, scope, policy, areas)
        clocks = ServerClocks(PrefectClock(prefect), client)
        cadence = Cadence(clock(), policy.interval, cycles)
        notes = Notes.of(prefect, scope, areas)
        yield Reconciler(observer, clocks, cadence, successor, logger, dry_run=dry_run, notes=notes)


async def validate(client: CplnClient, org: str, gvc: str | None, logger: Logger) -> None:
    """Make sure that token, org and GVC are right, before anything is done with them.

    Raises:
        UnauthorizedError, ForbiddenError: The token is wrong or lacks a permission; the message names the fix.
        NotFoundError: There is no such org or GVC.
    """
    journal = Journal(logger, LogContext(gvc=gvc))
    what = f"organization {org}" + (f" and GVC {gvc}" if gvc else "")
    try:
        await client.get(f"/org/{org}")
        if gvc:
            await client.get(f"/org/{org}/gvc/{gvc}")
    except NotFoundError as error:
        journal.error(Area.INIT, f"{what} cannot be read: {error}; check org and gvc, or CPLN_ORG and CPLN_GVC")
        raise
    except CplnError as error:
        journal.error(Area.INIT, f"{what} cannot be read: {error}")
        raise
    journal.debug(Area.INIT, f"the platform answers for {what}")
