"""What must hold in every simulated world, said without a word of the decisions under test."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from cpln_flows.model.identifiers import FLOW_RUN_ID, INSTALLATION, ROLE
from cpln_flows.model.links import CommandRef
from cpln_flows.model.run_states import FINAL, RunState
from tests.simulation.prefect_side import Proposal
from tests.simulation.world import Truth, World

COMPLETED_GRACE, CANCEL_GRACE, STOP_GRACE, SUBMISSION_LIMIT, RECORD_AFTER = 30, 60, 120, 900, 60
MISSES = 5
INTERVAL = 60
ENDED = ("completed", "failed", "cancelled")


class Owed(NamedTuple):
    """Something that the flows have to put right, and since when it is certain."""

    what: str
    subject: UUID | str
    since: float


@dataclass
class Judge:
    """Watches one world.

    Attributes:
        world: The world.
        wrong: What must not have happened.
        divergences: How many times the two sides disagreed for longer than the grace.
    """

    world: World
    wrong: list[str] = field(default_factory=list)
    divergences: int = 0
    _waiting: dict[tuple[str, UUID | str], int] = field(default_factory=dict)
    _judged: int = 0
    _read_at: list[float] = field(default_factory=list)
    _stops: dict[str, datetime] = field(default_factory=dict)
    _seen_stops: set[str] = field(default_factory=set)

    def before(self) -> set[tuple[str, UUID | str]]:
        """Return what is owed at the beginning of a cycle."""
        owed = {(one.what, one.subject) for one in self.owed() if one.since < self.world.seconds}
        self.divergences += len(owed - self._waiting.keys())
        return owed

    def after(self, owed: set[tuple[str, UUID | str]], *, all_read: bool) -> None:
        """Judge a cycle: it did the right things, and nothing is owed for a second cycle."""
        for proposal in self.world.prefect.proposals[self._judged :]:
            self._judge(proposal)
        self._judged = len(self.world.prefect.proposals)
        self._judge_stops()
        self._finals_stay()
        still = owed & {(one.what, one.subject) for one in self.owed()}
        before = self._waiting
        self._read_at += [self.world.seconds] if all_read else []
        self._waiting = {key: before.get(key, 0) + all_read for key in still}
        self.wrong += [
            f"{what} of {subject} is owed for {n} cycles"
            for (what, subject), n in self._waiting.items()
            if n >= 2
        ]

    # What is owed

    def owed(self) -> Iterator[Owed]:
        """Yield every disagreement of the two sides that is certain at a moment, now or later."""
        for truth in self.world.truths.values():
            if truth.deleted_at is None:
                yield from self._of_child(truth) if truth.run.parent else self._of_run(truth)
            yield from self._of_job(truth)

    def _of_run(self, truth: Truth) -> Iterator[Owed]:
        run, state = truth.run, truth.run.state
        since = self._in_prefect(state.at)
        if state.type not in {RunState.PENDING, RunState.RUNNING, RunState.CANCELLING}:
            return
        cancelling = state.type is RunState.CANCELLING
        # A run whose pid is not recorded is found by a search, which waits until the worker had
        # time to record it.
        found = 0.0 if run.pid and truth.job and run.pid == truth.job.pid else since + RECORD_AFTER
        job = self.world.job(truth.job)
        if truth.job is None:
            # The pid of an earlier attempt may lead to a workload that is gone, and is counted as
            # if it were the current one.
            cancelled = self._counted(since + CANCEL_GRACE) if run.pid else since + CANCEL_GRACE
            yield Owed(
                "end of a run without job",
                run.id,
                cancelled if cancelling else since + SUBMISSION_LIMIT,
            )
        elif job is None:
            gone = self._seconds(self.world.gone[truth.workload.path])
            # While a run is pending again, its pid may be that of the earlier attempt: then only
            # the lists tell.
            by_lists = found or (state.type is RunState.PENDING and len(truth.jobs) > 1)
            # The pid of a later attempt counts only once the worker had its time to record it.
            patience = (
                SUBMISSION_LIMIT if by_lists else RECORD_AFTER if len(truth.jobs) > 1 else -math.inf
            )
            yield Owed(
                "end of a run whose job is gone", run.id, self._counted(max(since + patience, gone))
            )
        elif job["lifecycleStage"] in ENDED:
            grace = (
                COMPLETED_GRACE if job["lifecycleStage"] == "completed" and not cancelling else 0
            )
            yield Owed(
                "end of a run whose job has ended",
                run.id,
                max(self._ended(job) + grace, found, since),
            )
        elif not cancelling and run.pid != truth.job.pid:
            yield Owed("name of the job", run.id, self._created(job) + RECORD_AFTER)

    def _of_child(self, truth: Truth) -> Iterator[Owed]:
        parent = self.world.prefect.runs.get(truth.run.parent) if truth.run.parent else None
        if (
            parent is None
            or parent.state.type not in FINAL
            or truth.run.state.type is not RunState.RUNNING
        ):
            return
        ended = self._in_prefect(parent.state.at)
        container = self.world.job(CommandRef.find(parent.pid)) if parent.pid else None
        over = container is not None and container["lifecycleStage"] in ENDED
        since = max(ended, self._ended(container)) if container and over else ended + STOP_GRACE
        yield Owed("end of a run whose parent is over", truth.run.id, since)

    def _of_job(self, truth: Truth) -> Iterator[Owed]:
        for ref in truth.jobs:
            job = self.world.job(ref)
            if job is None or job["lifecycleStage"] in ENDED or not job["status"].get("replica"):
                continue
            if job["lifecycleStage"] == "cancellation-requested":
                continue
            state = truth.run.state
            if truth.deleted_at is not None:
                since = max(self._seconds(truth.deleted_at), self._created(job) + STOP_GRACE)
                yield Owed("stop of a deleted run's job", job["id"], since)
            elif state.type in FINAL or (
                state.type is RunState.CANCELLING and truth.run.parent is None
            ):
                yield Owed(
                    "stop of a job",
                    job["id"],
                    max(self._in_prefect(state.at) + _grace_of(state), self._created(job)),
                )

    # What must not be

    def _judge(self, proposal: Proposal) -> None:
        if not proposal.accepted or proposal.before in FINAL:
            # Refused, or over a final state of the same moment, which `_finals_stay` checks.
            return
        truth = self.world.truths[proposal.run_id]
        if not self._is_right(truth, proposal):
            job = self.world.job(truth.job)
            self.wrong.append(
                f"{proposal.before} -> {proposal.after} of {proposal.run_id}"
                f" after {proposal.at - proposal.since}, because"
                f" {proposal.message!r}, while its job {truth.job} is {job}"
                f" and its pid {truth.run.pid}"
            )

    def _is_right(self, truth: Truth, proposal: Proposal) -> bool:
        parent = self.world.prefect.runs.get(truth.run.parent) if truth.run.parent else None
        if parent is not None:
            ends = (
                RunState.CANCELLED if parent.state.type is RunState.CANCELLED else RunState.CRASHED
            )
            return parent.state.type in FINAL and proposal.after is ends
        job = self.world.job(truth.job)
        stage = job["lifecycleStage"] if job else None
        waited = (proposal.at - proposal.since).total_seconds()
        missing = job is None and self._gone_for(truth) >= (MISSES - 1) * INTERVAL
        # A job that is gone before it is sure that the pid is its own is as one that never was.
        never = proposal.before is RunState.PENDING and job is None and waited > SUBMISSION_LIMIT
        over = (
            stage == "completed"
            and job is not None
            and self.world.seconds - self._ended(job) > COMPLETED_GRACE
        )
        waits = job is not None and not job["status"].get("replica")
        cancelling = proposal.before is RunState.CANCELLING
        allowed = {
            RunState.COMPLETED: proposal.before is RunState.RUNNING and over,
            RunState.CRASHED: stage == "failed"
            or missing
            or never
            or (proposal.before is RunState.PENDING and over),
            RunState.CANCELLED: stage == "cancelled"
            or (
                cancelling
                and (
                    stage in ENDED or missing or ((waits or job is None) and waited > CANCEL_GRACE)
                )
            ),
            RunState.PENDING: proposal.before is RunState.PENDING and stage == "pending",
        }
        return allowed.get(proposal.after, False)

    def _judge_stops(self) -> None:
        for stop_id, stop in self.world.stops().items():
            if stop_id in self._seen_stops or stop_id in self.world.stopped_by_world:
                continue
            self._seen_stops.add(stop_id)
            replica, at = stop["spec"]["replica"], self.world.clock.now()
            last = self._stops.get(replica)
            if last is not None and at - last < timedelta(seconds=300):
                self.wrong.append(f"two stops to {replica} within {at - last}")
            self._stops[replica] = at
            job = next(
                one
                for one in self.world.platform.commands()
                if one["status"].get("replica") == replica
            )
            if not self._may_stop(job):
                self.wrong.append(f"stop of {job['id']} (tags {job['tags']})")

    def _may_stop(self, job: dict) -> bool:
        tags = job["tags"]
        if tags.get(INSTALLATION) != str(self.world.installation) or ROLE not in tags:
            return False
        truth = self.world.truths[UUID(tags[FLOW_RUN_ID])]
        now = self.world.seconds
        if truth.deleted_at is not None:
            return now - self._created(job) > STOP_GRACE
        mine = truth.run.state
        parent = self.world.prefect.runs.get(truth.run.parent) if truth.run.parent else None
        if parent is not None and parent.state.type in FINAL:
            return True
        if mine.type is RunState.CANCELLING or mine.type in FINAL:
            # What came at the very moment of the cycle was not there when it was decided.
            asked = [
                state
                for state in truth.run.states
                if state.type in FINAL or state.type is RunState.CANCELLING
            ]
            return any(now - self._in_prefect(state.at) > _grace_of(state) for state in asked)
        return False

    def _finals_stay(self) -> None:
        for truth in self.world.truths.values():
            if (
                truth.deleted_at is None
                and truth.ended_as is not None
                and truth.run.state.type is not truth.ended_as
            ):
                self.wrong.append(
                    f"{truth.run.id} was {truth.ended_as} by itself and is {truth.run.state.type}"
                )

    # Moments

    def _counted(self, since: float) -> float:
        """Return when five cycles have read everything since a moment."""
        counted = [moment for moment in self._read_at if moment > since]
        return counted[MISSES - 1] if len(counted) >= MISSES else math.inf

    def _seconds(self, moment: datetime) -> float:
        return (moment - self.world.start).total_seconds()

    def _in_prefect(self, moment: datetime) -> float:
        return self._seconds(moment - self.world.skew)

    def _created(self, job: dict) -> float:
        return self._seconds(datetime.fromisoformat(job["created"]))

    def _ended(self, job: dict) -> float:
        return self._seconds(datetime.fromisoformat(job["lastModified"]))

    def _gone_for(self, truth: Truth) -> float:
        gone = self.world.gone.get(truth.workload.path)
        return self.world.seconds - self._seconds(gone) if gone else 0


def _grace_of(state) -> float:
    """How long the job of a run may go on in a state that asks for its end."""
    return CANCEL_GRACE if state.type is RunState.CANCELLING else STOP_GRACE
