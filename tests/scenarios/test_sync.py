"""Both sides are reconciled: a real Prefect server, the local platform, and a worker's traces."""

import itertools
import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from prefect import flow, task
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Pending,
    Running,
)

from cpln_flows import (
    LimitExceededError,
    SyncOptions,
    artifacts,
    orchestration,
    sync,
    sync_cpln_to_prefect,
    sync_prefect_to_cpln,
)
from cpln_flows.api import commands, workloads
from cpln_flows.emulator import Fault, Platform, PlatformConfig
from cpln_flows.errors import NotFoundError, UnauthorizedError
from cpln_flows.model import ending
from cpln_flows.model.identifiers import Owner, Role, Submission
from cpln_flows.model.policy import Policy
from cpln_flows.prefect_api.clock import PrefectClock
from cpln_flows.reconcile import act, decide, evidence
from cpln_flows.reconcile.act import Actor, Outcome
from cpln_flows.reconcile.actions import Kind, event_id
from cpln_flows.reconcile.cadence import Cadence
from cpln_flows.reconcile.clocks import ServerClocks
from cpln_flows.reconcile.cycles import Reconciler
from cpln_flows.reconcile.flow_runs import PrefectFlowRuns
from cpln_flows.reconcile.notes import LastCycle
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.plan import Plan
from cpln_flows.reconcile.snapshot import Clocks, Memory, Scope
from tests.manifests import FAILING, FOREVER
from tests.patience import PATIENCE_SECONDS
from tests.scenarios.hands import Hands, nothing

pytestmark = [
    pytest.mark.usefixtures("prefect_api"),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.anyio,
]

NOTHING = timedelta(0)
AT_ONCE = Policy(
    completed_grace=NOTHING,
    cancel_grace=NOTHING,
    stop_grace=NOTHING,
    submission_limit=NOTHING,
    record_after=NOTHING,
    interval=timedelta(seconds=0.01),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def hands(local):
    async with Hands(local) as opened:
        yield opened


def options(hands: Hands, **more) -> SyncOptions:
    graces = dict.fromkeys(
        (
            "completed_grace_seconds",
            "cancel_grace_seconds",
            "stop_grace_seconds",
            "submission_limit_seconds",
        ),
        0,
    )
    return SyncOptions(work_pool=hands.pool, **{**graces, **more})


class Cycles:
    """One cycle after the other, without a flow around them."""

    def __init__(self, hands: Hands, policy: Policy = AT_ONCE, runs=None, **scope) -> None:
        self.hands = hands
        scope = Scope("local", **{"work_pool": hands.pool, **scope})
        self.observer = Observer(
            hands.client, runs or PrefectFlowRuns(hands.prefect), scope, policy
        )
        self.actor = Actor(self.observer, self.clocks)
        self.memory = Memory()
        self.clock = now
        self.planned = Plan(now())

    def clocks(self) -> Clocks:
        return Clocks.alike(self.clock())

    async def plan(self):
        self.snapshot = await self.observer.snapshot(self.clocks(), self.memory)
        self.planned = decide.decide(self.snapshot, self.observer.scope, self.observer.policy)
        return act.news(self.planned, self.memory)

    async def act(self, plan):
        outcomes = await self.actor.act(plan, self.memory.reported)
        memory = act.remember(self.snapshot, outcomes, self.memory)
        self.memory = act.forget(memory, self.planned, self.snapshot, outcomes)
        return outcomes

    def next_process(self) -> "Cycles":
        """The cycles of the process after this one, which knows what was reported."""
        another = Cycles(self.hands, self.observer.policy)
        another.memory = Memory(reported=self.memory.reported)
        return another

    async def __call__(self) -> list[tuple[Kind, bool]]:
        return [
            (outcome.action.kind, outcome.done) for outcome in await self.act(await self.plan())
        ]


def now() -> datetime:
    return datetime.now(UTC)


async def reaches(hands: Hands, ref, *stages: str) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while await hands.stage(ref) not in stages:  # noqa: ASYNC110 - another process sets no event here
            await anyio.sleep(0.05)


async def outlives_its_run(hands, script):
    """Return the job of a run that has completed, while its container runs on."""
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(script))
    await reaches(hands, ref, "running")
    await hands.become(run, Completed())
    return ref


STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True)\ntime.sleep(60)"
)
ENDED = ("completed", "failed", "cancelled")


# The platform is right


async def test_a_container_that_fails_crashes_its_run_with_exit_code_and_reason(
    hands, caplog
) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FAILING))
    await reaches(hands, ref, "failed")
    result = await sync_cpln_to_prefect(options=options(hands))
    state = await hands.state(run)
    assert state.type == "CRASHED"
    assert "exit code 3" in state.message
    assert result["changes"] == 1
    line = next(line for line in caplog.messages if "Marking as CRASHED" in line)
    assert line.startswith(
        f"[CPLN] Sync CPLN→Prefect | Flow: nothing, RunID: {run.id}, GVC: quickstart,"
        f" Workload: {ref.workload}"
    )
    artifact = await hands.artifact("cpln-sync")
    assert ref.command_id in artifact["data"]
    assert f"/runs/flow-run/{run.id}" in artifact["data"]


async def test_task_runs_end_with_crashed_run(hands) -> None:
    class Restarting(PrefectFlowRuns):
        """Prefect fails once, after it has taken the state of the run."""

        failed = False

        async def end_below(self, ended):
            if not self.failed:
                self.failed = True
                raise OSError("Prefect restarts")
            await super().end_below(ended)

    run = await hands.run(Pending(), Running())
    left = await hands.prefect.create_task_run(
        _step, flow_run_id=run.id, dynamic_key="0", state=Running()
    )
    await reaches(hands, await hands.container(run, await hands.workload(FAILING)), "failed")
    cycles = Cycles(hands, runs=Restarting(hands.prefect))
    assert await cycles() == [(Kind.CRASH, True)]
    assert await cycles() == []
    assert (await hands.prefect.read_task_run(left.id)).state.type == "CRASHED"


async def test_a_container_that_has_ended_completes_its_run_and_crashes_one_that_never_began(
    hands,
) -> None:
    workload = await hands.workload("pass")
    running, pending = await hands.run(Pending(), Running()), await hands.run(Pending())
    for run in (running, pending):
        await reaches(hands, await hands.container(run, workload), "completed")
    assert sorted(await Cycles(hands)()) == [(Kind.COMPLETE, True), (Kind.CRASH, True)]
    assert (await hands.state(running)).type == "COMPLETED"
    assert "without starting the flow" in (await hands.state(pending)).message
    assert await Cycles(hands)() == []


async def test_a_deleted_workload_crashes_its_run_after_five_cycles_of_five_processes(
    hands,
) -> None:
    run = await hands.run(Pending(), Running())
    workload = await hands.workload(FOREVER)
    await hands.container(run, workload)
    await workloads.delete(hands.client, workload)
    for _ in range(4):
        await Cycles(hands)()  # which begins with an empty memory, as another process would
        assert (await hands.state(run)).type == "RUNNING"
    hands.local.platform.faults.add(Fault(path=".*-command/.*", status=503, times=1))
    await Cycles(hands)()
    assert (await hands.state(run)).type == "RUNNING", "an unread cycle does not count"
    await Cycles(hands)()
    state = await hands.state(run)
    assert state.type == "CRASHED"
    assert "5 of 5" in state.message


@pytest.mark.parametrize(
    "local",
    [lambda: Platform(PlatformConfig(delete_delay_seconds=0, command_retention_seconds=0))],
    indirect=True,
    ids=["forgets"],
)
@pytest.mark.parametrize(("script", "ends"), [("pass", "COMPLETED"), (FAILING, "CRASHED")])
async def test_the_end_of_a_job_whose_command_is_forgotten_is_read_from_its_execution(
    hands, script, ends
) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(script))
    with anyio.fail_after(PATIENCE_SECONDS):
        while ref.command_id in {one["id"] for one in hands.local.platform.commands()}:  # noqa: ASYNC110 - another process does it
            await anyio.sleep(0.05)
    await Cycles(hands)()
    state = await hands.state(run)
    assert state.type == ends
    assert "exit code 3" in state.message or ends == "COMPLETED"


async def test_a_job_that_is_read_again_counts_from_the_start(hands) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FOREVER))
    cycles = Cycles(hands)
    # Neither the lists nor the command itself show the job, as after a failover.
    hands.local.platform.faults.add(
        Fault(path=".*(-command/-query|/deployment)", body='{"items": []}', times=2)
    )
    hands.local.platform.faults.add(
        Fault(method="GET", path=f".*{ref.command_id}", status=404, times=1)
    )
    assert await cycles() == [(Kind.COUNT, True)]
    assert await cycles() == [(Kind.RESET, True)]
    assert await cycles() == []


async def test_active_execution_outweighs_missing_command(hands) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FOREVER))
    await reaches(hands, ref, "running")
    hands.local.platform.faults.add(
        Fault(path=".*-command/-query", body='{"items": []}', times=None)
    )
    hands.local.platform.faults.add(
        Fault(method="GET", path=f".*{ref.command_id}", status=404, times=None)
    )
    for _ in range(6):
        assert await Cycles(hands)() == []
    assert (await hands.state(run)).type == "RUNNING"


@pytest.mark.parametrize(
    "local",
    [lambda: Platform(PlatformConfig(restart_delay_seconds=3600))],
    indirect=True,
    ids=["slow"],
)
@pytest.mark.parametrize(("restart", "ends"), [("OnFailure", "RUNNING"), ("Never", "CRASHED")])
async def test_container_between_restarts_has_not_ended(hands, restart, ends) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FAILING, restart=restart))
    with anyio.fail_after(PATIENCE_SECONDS):
        while not await _main_has_ended(hands, ref):  # noqa: ASYNC110 - another process does it
            await anyio.sleep(0.05)
    hands.local.platform.faults.add(
        Fault(path=".*-command/-query", body='{"items": []}', times=None)
    )
    hands.local.platform.faults.add(
        Fault(method="GET", path=f".*{ref.command_id}", status=404, times=None)
    )
    await Cycles(hands)()
    assert (await hands.state(run)).type == ends


async def _main_has_ended(hands, ref) -> bool:
    _, execution = await workloads.execution_of(hands.client, ref) or (None, None)
    return ending.main_ended(execution, "main") is not None


async def test_main_container_decides_over_sidecar(hands) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload("pass", sidecar=FAILING))
    await reaches(hands, ref, "failed")
    hands.client.settings = hands.client.settings.model_copy(update={"retry_seconds": 0})
    hands.local.platform.faults.add(Fault(path=".*/deployment/.*", status=500, times=None))
    assert await Cycles(hands)() == [], "whether the main container has failed is not known"
    hands.local.platform.faults.clear()
    assert await Cycles(hands)() == [(Kind.COMPLETE, True)]
    assert (await hands.state(run)).type == "COMPLETED"


async def test_a_stop_on_the_platform_ends_the_run(hands) -> None:
    workload = await hands.workload(FOREVER)
    crashed, cancelled = (
        await hands.run(Pending(), Running()),
        await hands.run(Pending(), Running()),
    )
    for run, stage in ((crashed, "failed"), (cancelled, "cancelled")):
        hands.local.platform.switch(final_stage_after_stop=stage)
        ref = await hands.container(run, workload)
        await reaches(hands, ref, "running")
        replica = (await commands.read(hands.client, ref)).status.replica
        await commands.stop(hands.client, workload, location="local-1", replica=replica)
        await reaches(hands, ref, stage)
    await Cycles(hands)()
    assert (await hands.state(crashed)).type == "CRASHED"
    assert (await hands.state(cancelled)).type == "CANCELLED"


async def test_a_worker_that_died_before_it_started_the_job_leaves_a_run_that_crashes(
    hands,
) -> None:
    await hands.workload(FOREVER)
    run = await hands.run(Pending())
    assert await Cycles(hands, gvc="quickstart")() == [], "another GVC may have the job"
    assert await Cycles(hands, replace(AT_ONCE, submission_limit=timedelta(minutes=15)))() == []
    assert await Cycles(hands)() == [(Kind.CRASH, True)]
    assert "worker died" in (await hands.state(run)).message


async def test_deleted_pool_leaves_no_run_running(hands) -> None:
    failed, gone = await hands.run(Pending(), Running()), await hands.run(Pending(), Running())
    await reaches(hands, await hands.container(failed, await hands.workload(FAILING)), "failed")
    workload = await hands.workload(FOREVER)
    await hands.container(gone, workload)
    await workloads.delete(hands.client, workload)
    await hands.prefect.delete_work_pool(hands.pool)
    for number in range(1, 6):
        # Each with an empty memory, as another process would.
        kinds = dict(await of_runs(Cycles(hands, runs=OfOne(hands), work_pool=None)))
        assert kinds.get(failed.id) is (Kind.CRASH if number == 1 else None)
        assert kinds[gone.id] is (Kind.CRASH if number == 5 else Kind.COUNT)
    assert "exit code 3" in (await hands.state(failed)).message
    assert "5 of 5" in (await hands.state(gone)).message


async def of_runs(cycles: Cycles) -> list[tuple[uuid.UUID, Kind]]:
    return [
        (outcome.action.run_id, outcome.action.kind)
        for outcome in await cycles.act(await cycles.plan())
    ]


async def test_pool_deleted_between_two_cycles(hands) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FOREVER))
    await reaches(hands, ref, "running")
    cycles = Cycles(hands)
    assert await cycles() == []
    await hands.prefect.delete_work_pool(hands.pool)
    replica = (await commands.read(hands.client, ref)).status.replica
    await commands.stop(hands.client, ref.workload_ref, location="local-1", replica=replica)
    await reaches(hands, ref, "failed")
    assert await cycles() == [(Kind.CRASH, True)]
    assert await cycles() == []


async def test_job_flow_in_container_of_deleted_pool(hands) -> None:
    run = await hands.prefect.create_flow_run(_child, state=Running())
    hands.made.append(run.id)
    ref = await hands.container(run, await hands.workload(FAILING))
    await reaches(hands, ref, "failed")
    assert await Cycles(hands, runs=OfOne(hands), work_pool=None)() == [(Kind.CRASH, True)]


async def test_pid_of_a_job_is_no_container(hands) -> None:
    run = await hands.prefect.create_flow_run(nothing, state=Running())
    hands.made.append(run.id)
    owner = Owner(run.id, "nothing", installation=await orchestration.installation(hands.prefect))
    ref = await hands.start(
        await hands.workload(FAILING), owner.tags(Role.JOB) | Submission(run.id).tags
    )
    await hands.prefect.update_flow_run(run.id, infrastructure_pid=ref.pid)
    await reaches(hands, ref, "failed")
    assert await Cycles(hands, runs=OfOne(hands), work_pool=None)() == [], "its flow goes on"
    await workloads.delete(hands.client, ref.workload_ref)
    assert await Cycles(hands, runs=OfOne(hands), work_pool=None)() == []


async def test_a_list_that_breaks_off_crashes_nothing(hands) -> None:
    await hands.workload(FOREVER)
    await hands.run(Pending())
    hands.local.platform.faults.add(Fault(path=".*/-query", status=503, times=None))
    assert await Cycles(hands)() == []


async def test_a_worker_that_died_after_it_started_the_job_leaves_a_run_that_gets_its_pid(
    hands,
) -> None:
    run = await hands.run(Pending())
    ref = await hands.container(run, await hands.workload(FOREVER), record=False)
    await reaches(hands, ref, "running")
    assert await Cycles(hands)() == [(Kind.RECORD_PID, True)]
    assert (await hands.prefect.read_flow_run(run.id)).infrastructure_pid == ref.pid
    assert await Cycles(hands)() == []


async def test_a_run_without_pid_is_found_by_its_tags_when_its_job_has_ended_too(hands) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FAILING), record=False)
    await reaches(hands, ref, "failed")
    assert await Cycles(hands)() == [(Kind.CRASH, True)]


async def test_a_retried_run_is_judged_by_its_new_attempt_only(hands) -> None:
    workload = await hands.workload("pass")
    run = await hands.run(Pending(), Running())
    await reaches(hands, await hands.container(run, workload), "completed")
    run = await hands.become(run, Failed(), AwaitingRetry(scheduled_time=now()), force=True)
    assert await Cycles(hands)() == []
    run = await hands.become(run, Pending(), force=True)
    patient = replace(AT_ONCE, submission_limit=timedelta(minutes=15))
    assert await Cycles(hands, patient)() == [], (
        "the old command says nothing about the new attempt"
    )
    await hands.container(run, await hands.workload(FAILING), attempt=1, record=False)
    await hands.become(run, Running())
    with anyio.fail_after(PATIENCE_SECONDS):
        while (Kind.CRASH, True) not in await Cycles(hands, patient)():  # noqa: ASYNC110 - another process does it
            await anyio.sleep(0.05)
    assert "exit code 3" in (await hands.state(run)).message


async def test_a_retry_inside_of_the_container_is_no_new_attempt(hands) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FAILING))
    await hands.become(run, AwaitingRetry(scheduled_time=now()), Running(), force=True)
    await reaches(hands, ref, "failed")
    assert await Cycles(hands)() == [(Kind.CRASH, True)]


FINAL = [Cancelled, Failed, Crashed, Completed]
_LATE = list(
    itertools.product(
        ["before the look", "after the look"], ["completed", "failed", "cancelled"], FINAL
    )
)
_FEW_LATE = _LATE[::7]  # each moment, each stage, and each state


@pytest.mark.parametrize(
    ("when", "stage", "late"),
    [pytest.param(*case, marks=[] if case in _FEW_LATE else pytest.mark.proof) for case in _LATE],
)
async def test_a_final_state_that_comes_between_look_and_act_stays(
    hands, late, stage, when
) -> None:
    class Late(PrefectFlowRuns):
        async def by_ids(self, ids):
            if when == "before the look":
                await hands.become(run, late(), force=True)
            return await super().by_ids(ids)

        async def propose(self, run_id, *args):
            if when == "after the look":
                late_once, hands.late = getattr(hands, "late", False), True
                if not late_once:
                    await hands.become(run, late(), force=True)
            return await super().propose(run_id, *args)

    hands.late = False
    run = await hands.run(Pending(), Running())
    script = {"completed": "pass", "failed": FAILING, "cancelled": FOREVER}[stage]
    hands.local.platform.switch(final_stage_after_stop="cancelled")
    ref = await hands.container(run, await hands.workload(script))
    if stage == "cancelled":
        await reaches(hands, ref, "running")
        replica = (await commands.read(hands.client, ref)).status.replica
        await commands.stop(hands.client, ref.workload_ref, location="local-1", replica=replica)
    await reaches(hands, ref, stage)
    cycles = Cycles(hands, runs=Late(hands.prefect))
    plan = await cycles.plan()
    assert len(plan.changes) == 1
    await cycles.act(plan)
    assert (await hands.state(run)).type == late().type


@pytest.mark.parametrize(
    "local",
    [lambda: Platform(PlatformConfig(delete_delay_seconds=0, start_delay_seconds=60))],
    indirect=True,
    ids=["slow"],
)
@pytest.mark.parametrize("late", [Cancelled, Failed, Crashed, Completed])
async def test_a_final_state_that_comes_while_a_run_is_said_to_wait_stays(hands, late) -> None:
    class Late(PrefectFlowRuns):
        async def propose(self, run_id, *args):
            await hands.become(run, late(), force=True)
            return await super().propose(run_id, *args)

    run = await hands.run(Pending())
    await hands.container(run, await hands.workload("pass"))
    policy = replace(AT_ONCE, submission_limit=timedelta(minutes=15))
    assert await Cycles(hands, policy, runs=Late(hands.prefect))() == [(Kind.PEND, False)]
    assert (await hands.state(run)).type == late().type


# Prefect is right


async def test_a_sidecar_that_hangs_is_stopped_once_and_its_end_is_told(hands, caplog) -> None:
    caplog.set_level(logging.INFO, "cpln_flows")
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload("pass", sidecar=FOREVER))
    await reaches(hands, ref, "running")
    await hands.become(run, Completed())
    cycles = Cycles(hands)
    assert await cycles() == [(Kind.STOP, True)]
    await reaches(hands, ref, *ENDED)
    assert await cycles() == [(Kind.STOPPED, True)]
    assert await cycles() == []
    said = "\n".join(caplog.messages)
    assert "[CPLN] Sync Prefect→CPLN" in said
    assert "Sending stopReplica: flow run" in said
    assert "terminated successfully after" in said
    assert (await hands.state(run)).type == "COMPLETED"


async def test_the_end_of_a_stopped_job_is_told_by_the_process_after(hands) -> None:
    ref = await outlives_its_run(hands, FOREVER)
    policy = replace(AT_ONCE, interval=timedelta(seconds=60))
    assert await Cycles(hands, policy)() == [(Kind.STOP, True)]
    await reaches(hands, ref, *ENDED)
    assert await Cycles(hands, policy)() == [(Kind.STOPPED, True)]


async def test_every_process_knows_one_duration(hands) -> None:
    ref = await outlives_its_run(hands, FOREVER)
    policy = replace(AT_ONCE, interval=timedelta(seconds=60))
    cycles = Cycles(hands, policy)
    assert await cycles() == [(Kind.STOP, True)]
    await reaches(hands, ref, *ENDED)
    later = Cycles(hands, policy)
    later.clock = lambda: now() + timedelta(seconds=30)
    reasons = [(await some.plan()).actions[0].reason for some in (cycles, later)]
    assert reasons[0] == reasons[1]
    assert "terminated successfully after" in reasons[0]


async def test_flow_runs_report_one_end_once(hands, caplog) -> None:
    caplog.set_level(logging.INFO)
    ref = await outlives_its_run(hands, FOREVER)
    ends = []
    for _ in range(4):
        await sync_prefect_to_cpln(options=options(hands))
        await reaches(hands, ref, *ENDED)
        ends.append(sum("terminated successfully after" in line for line in caplog.messages))
    assert ends == [0, 1, 1, 1]


async def test_flow_runs_report_unread_workload_once(hands, caplog) -> None:
    workload = await hands.workload("pass")
    hands.local.platform.faults.add(
        Fault(path=f".*/{workload.name}/-command/-query", status=403, times=None)
    )
    for _ in range(2):
        await sync_prefect_to_cpln(options=options(hands))
    (line,) = [line for line in caplog.messages if "skipped (unreadable)" in line]
    assert line.startswith(
        f"[CPLN] Sync Prefect→CPLN | GVC: quickstart, Workload: {workload.name} > "
    )


async def test_a_job_that_does_not_end_is_told_to_stop_once_and_then_escalated(hands) -> None:
    await outlives_its_run(hands, STUBBORN)
    cycles = Cycles(hands)
    assert await cycles() == [(Kind.STOP, True)]
    assert await cycles() == []
    assert await Cycles(hands)() == [], "another process knows of the stop too"
    impatient = Cycles(
        hands, replace(AT_ONCE, escalate_after=NOTHING, interval=timedelta(seconds=60))
    )
    assert await impatient() == [(Kind.ESCALATE, True)]
    stops = [
        command for command in hands.local.platform.commands() if command["type"] == "stopReplica"
    ]
    assert len(stops) == 1, "the platform refuses a second stop, which is a success"


async def test_a_run_that_is_cancelled_and_whose_container_hears_nothing_ends_cancelled(
    hands,
) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FOREVER))
    await reaches(hands, ref, "running")
    await hands.become(run, Cancelling())
    cycles = Cycles(hands)
    assert await cycles() == [(Kind.STOP, True)]
    await reaches(hands, ref, *ENDED)
    assert sorted(await cycles()) == [(Kind.CANCEL, True), (Kind.STOPPED, True)]
    assert (await hands.state(run)).type == "CANCELLED"


async def test_a_deleted_run_has_its_job_stopped_and_another_servers_job_is_left(hands) -> None:
    workload = await hands.workload(FOREVER)
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, workload)
    foreign = Owner(uuid.uuid4(), "x", installation=uuid.uuid4()).tags(Role.CONTAINER)
    theirs = await hands.container(run, workload, record=False, tags=foreign)
    forks = await hands.container(
        run, workload, record=False, tags={"prefect.io/flow-run-id": str(uuid.uuid4())}
    )
    for each in (ref, theirs, forks):
        await reaches(hands, each, "running")
    await hands.prefect.delete_flow_run(run.id)
    assert sorted(await Cycles(hands, runs=OfOne(hands), work_pool=None)()) == [
        (Kind.REPORT, True),
        (Kind.REPORT, True),
        (Kind.STOP, True),
    ]
    await reaches(hands, ref, *ENDED)
    assert await hands.stage(theirs) == await hands.stage(forks) == "running"
    assert (Kind.STOP, True) in await Cycles(hands, runs=OfOne(hands), work_pool=None, adopt=True)()
    await reaches(hands, forks, *ENDED)
    assert await hands.stage(theirs) == "running"


async def test_a_container_that_is_killed_takes_the_job_that_it_has_started_with_it(hands) -> None:
    parent = await hands.run(Pending(), Running())
    own = await hands.container(parent, await hands.workload("import os; os.kill(os.getpid(), 9)"))
    child, ref = await _started_by(hands, parent)
    await reaches(hands, ref, "running")
    await reaches(hands, own, "failed")
    cycles = Cycles(hands, replace(AT_ONCE, stop_grace=timedelta(seconds=120)))
    assert await cycles() == [(Kind.CRASH, True)]
    assert await cycles() == [(Kind.CRASH, True), (Kind.STOP, True)]
    await reaches(hands, ref, *ENDED)
    assert (await hands.state(parent)).type == (await hands.state(child)).type == "CRASHED"


async def test_a_child_whose_job_is_over_ends_with_the_container_of_its_parent(hands) -> None:
    parent = await hands.run(Pending(), Running())
    own = await hands.container(parent, await hands.workload("import os; os.kill(os.getpid(), 9)"))
    child, ref = await _started_by(hands, parent, "pass")
    await reaches(hands, ref, "completed")
    await reaches(hands, own, "failed")
    cycles = Cycles(
        hands,
        replace(AT_ONCE, stop_grace=timedelta(seconds=120)),
        runs=OfOne(hands),
        work_pool=None,
    )
    assert await cycles() == [(Kind.CRASH, True)]
    assert await cycles() == [(Kind.CRASH, True)]
    assert (await hands.state(child)).type == "CRASHED"
    assert "its container is over" in (await hands.state(child)).message


async def test_a_deployed_run_goes_on_when_the_flow_that_called_it_is_over(hands) -> None:
    caller = await hands.prefect.create_flow_run(_child, state=Completed())
    step = await hands.prefect.create_task_run(
        _step, flow_run_id=caller.id, dynamic_key="0", state=Completed()
    )
    called = await hands.run(Pending(), Running(), parent_task_run_id=step.id)
    owner = Owner(called.id, "child", installation=await orchestration.installation(hands.prefect))
    ref = await hands.container(
        called,
        await hands.workload(FOREVER),
        record=False,
        tags=owner.tags(Role.JOB) | Submission(step.id).tags,
    )
    await hands.container(called, await hands.workload(FOREVER))
    await reaches(hands, ref, "running")
    assert await Cycles(hands)() == []


class OfOne(PrefectFlowRuns):
    """Only what one test has made, where the flows would look at every pool."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands.prefect)
        self._hands = hands

    async def under_way(self, work_pool):
        return await super().under_way(self._hands.pool)

    async def without_pool(self):
        return [run for run in await super().without_pool() if run.id in self._hands.made]

    async def job_flows(self):
        return [run for run in await super().job_flows() if run.id in self._hands.made]


async def test_a_retry_of_the_parent_keeps_the_job_that_it_goes_on_with(hands) -> None:
    parent = await hands.run(Pending(), Running())
    patient = replace(AT_ONCE, submission_limit=timedelta(minutes=15))
    child, ref = await _started_by(hands, parent)
    await reaches(hands, ref, "running")
    await hands.become(child, Crashed(), force=True)
    again = await hands.prefect.create_flow_run(
        _child, parent_task_run_id=child.parent_task_run_id, state=Running()
    )
    assert await Cycles(hands, patient)() == []
    await hands.become(again, Crashed(), force=True)
    assert await Cycles(hands, patient)() == [(Kind.STOP, True)]


@flow(name="run-namespaced-job")
def _child() -> None:
    """A flow that a task run of another flow stands for."""


@task
def _step() -> None:
    """What stands for the child in its parent."""


async def _started_by(hands: Hands, parent, script: str = FOREVER):
    """A run below another, and the job that it has started."""
    step = await hands.prefect.create_task_run(
        _step, flow_run_id=parent.id, dynamic_key="0", state=Running()
    )
    child = await hands.prefect.create_flow_run(_child, parent_task_run_id=step.id, state=Running())
    installation = await orchestration.installation(hands.prefect)
    owner = Owner(child.id, "child", root_flow_run_id=parent.id, installation=installation)
    tags = owner.tags(Role.JOB) | Submission(step.id).tags
    ref = await hands.container(child, await hands.workload(script), record=False, tags=tags)
    hands.made.append(child.id)
    return child, ref


async def test_a_job_that_does_not_end_is_escalated_rarely(hands) -> None:
    await outlives_its_run(hands, STUBBORN)
    cycles = Cycles(hands)
    assert await cycles() == [(Kind.STOP, True)]

    async def after(seconds: float, cycles: Cycles) -> list[tuple[Kind, bool]]:
        moment = now() + timedelta(seconds=seconds)
        cycles.clock = lambda: moment
        return await cycles()

    assert await after(301, cycles) == [(Kind.ESCALATE, True)]
    assert await after(361, cycles) == await after(1100, cycles) == []
    assert await after(700, cycles.next_process()) == [], "another process has reported it"
    assert await after(1201, cycles.next_process()) == [(Kind.ESCALATE, True)]


# What is not looked at


async def test_another_work_pools_jobs_are_left(hands, local) -> None:
    async with Hands(local) as other:
        run = await other.run(Pending(), Running())
        ref = await other.container(run, await other.workload(FOREVER))
        child, of_child = await _started_by(other, run)
        deleted = await other.run(Pending(), Running())
        of_deleted = await other.container(deleted, await other.workload(FOREVER))
        for each in (ref, of_child, of_deleted):
            await reaches(other, each, "running")
        await other.become(run, Completed())
        await other.prefect.delete_flow_run(deleted.id)
        assert await Cycles(hands)() == []
        assert sorted(await Cycles(other)()) == [
            (Kind.CRASH, True),
            (Kind.STOP, True),
            (Kind.STOP, True),
        ]
        assert (await other.state(child)).type == "CRASHED"


class Counting(PrefectFlowRuns):
    """Counts the requests that concern a single run."""

    def __init__(self, prefect) -> None:
        super().__init__(prefect)
        self.single = 0

    async def states(self, run_id):
        self.single += 1
        return await super().states(run_id)


class Cost:
    """The requests of one cycle: to the platform, and to Prefect about single runs."""

    def __init__(self, hands: Hands, policy: Policy = AT_ONCE, **scope) -> None:
        self.runs = Counting(hands.prefect)
        self.requests = hands.local.platform.requests
        self.cycles = Cycles(hands, policy, self.runs, **scope)

    async def __call__(self) -> tuple[int, int]:
        seen, self.runs.single = len(self.requests), 0
        await self.cycles.plan()
        self.cycles.memory = act.remember(self.cycles.snapshot, (), self.cycles.memory)
        return len(self.requests) - seen, self.runs.single


async def test_what_another_agents_jobs_cost_does_not_grow_with_them(hands) -> None:
    workload = await hands.workload(FOREVER)
    costs = []
    for _ in range(2):
        for _ in range(2):
            await hands.container(await hands.run(Pending(), Running()), workload)
        costs.append(await Cost(hands, agent="somebody else")())
    assert costs[0] == costs[1]
    assert costs[0][1] == 0
    assert (await Cost(hands, agent="hands")())[1] == 0


async def test_missing_job_is_logged_with_its_flow(hands, caplog) -> None:
    run = await hands.run(Pending(), Running())
    workload = await hands.workload(FOREVER)
    await hands.container(run, workload)
    await workloads.delete(hands.client, workload)
    await sync_cpln_to_prefect(options=options(hands))
    line = next(line for line in caplog.messages if "Got 404" in line)
    assert line.startswith(
        f"[CPLN] Sync CPLN→Prefect | Flow: nothing, RunID: {run.id}, GVC: quickstart, Workload: "
    )


async def test_last_cycle_is_kept_in_a_variable(hands) -> None:
    await sync(options=options(hands))
    of_this_pool = LastCycle.of(
        hands.prefect, Scope("local", work_pool=hands.pool), decide.BOTH
    ).name
    kept = (await hands.prefect.read_variable_by_name(of_this_pool)).value
    assert now() - datetime.fromisoformat(kept["at"]) < timedelta(minutes=5)
    assert (kept["actions"], kept["unread"]) == (0, 0)


async def test_another_agents_run_does_not_crash_when_its_workload_is_gone(hands) -> None:
    workload = await hands.workload(FOREVER)
    run = await hands.run(Pending(), Running())
    await hands.container(run, workload)
    await workloads.delete(hands.client, workload)
    for _ in range(6):
        assert await Cycles(hands, agent="somebody else")() == []
    assert (await hands.state(run)).type == "RUNNING"


async def test_what_a_cycle_costs_does_not_grow_with_the_runs(hands) -> None:
    workload, gone = await hands.workload(FOREVER), await hands.workload(FOREVER)
    patient = replace(AT_ONCE, submission_limit=timedelta(minutes=15))
    costs = []
    for _ in range(2):
        for _ in range(2):
            await hands.container(await hands.run(Pending(), Running()), workload)
            await hands.container(await hands.run(Pending(), Running()), gone)
            await hands.run(Pending())
        await workloads.delete(hands.client, gone)
        cost = Cost(hands, patient)
        await cost()  # it looks up once which attempt a run is in
        costs.append(await cost())
        gone = await hands.workload(FOREVER, name=gone.name)
    assert costs[0] == costs[1]
    assert costs[0][1] == 0


async def test_a_run_that_waits_for_its_worker_costs_nothing_at_first(hands) -> None:
    await hands.workload(FOREVER)
    for _ in range(2):
        await hands.run(Pending())
    assert (await Cost(hands, replace(AT_ONCE, record_after=timedelta(seconds=60)))())[1] == 0


# Both


@pytest.mark.parametrize(("script", "ends"), [("pass", "COMPLETED"), (FAILING, "CRASHED")])
async def test_a_job_flow_whose_process_has_died_ends_as_its_job_does(hands, script, ends) -> None:
    run = await hands.prefect.create_flow_run(_child, state=Running())
    hands.made.append(run.id)
    owner = Owner(run.id, "child", installation=await orchestration.installation(hands.prefect))
    ref = await hands.start(
        await hands.workload(script), owner.tags(Role.JOB) | Submission(run.id).tags
    )
    await hands.prefect.update_flow_run(run.id, infrastructure_pid=ref.pid)
    await reaches(hands, ref, *ENDED)
    patient = replace(AT_ONCE, stop_grace=timedelta(seconds=120))
    assert await Cycles(hands, patient, runs=OfOne(hands), work_pool=None)() == []
    assert [done for _, done in await Cycles(hands, runs=OfOne(hands), work_pool=None)()] == [True]
    assert (await hands.state(run)).type == ends


async def test_two_flows_at_once_end_in_the_right_state_and_send_one_stop(hands) -> None:
    workload = await hands.workload(STUBBORN)
    finished, failed = await hands.run(Pending(), Running()), await hands.run(Pending(), Running())
    active = await hands.container(finished, workload)
    ended = await hands.container(failed, await hands.workload(FAILING))
    await reaches(hands, active, "running")
    await reaches(hands, ended, "failed")
    await hands.become(finished, Completed())
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(Cycles(hands))
    assert (await hands.state(failed)).type == "CRASHED"
    assert (await hands.state(finished)).type == "COMPLETED"
    states = await hands.prefect.read_flow_run_states(failed.id)
    assert [state.type for state in states].count("CRASHED") == 1
    assert (
        len(
            [
                command
                for command in hands.local.platform.commands()
                if command["type"] == "stopReplica"
            ]
        )
        == 1
    )


async def test_a_dry_run_writes_the_plan_and_does_nothing(hands, caplog) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FAILING))
    await reaches(hands, ref, "failed")
    result = await sync(options=options(hands), dry_run=True)
    assert result["actions"] == 0
    (row,) = result.planned
    assert (row["action"], row["flow_run_id"], row["command"]) == (
        "mark as CRASHED",
        str(run.id),
        ref.command_id,
    )
    assert "actions planned: 1," in str(result)
    assert "mark as CRASHED" in str(result)
    assert any(
        f"Flow: nothing, RunID: {run.id}" in line and "dry run, would mark" in line
        for line in caplog.messages
    )
    assert (await hands.state(run)).type == "RUNNING"
    artifact = await hands.artifact("cpln-sync")
    assert "planned" in artifact["data"]
    assert "dry run" in artifact["description"]


async def test_a_cycle_that_would_change_too_much_changes_nothing_and_says_so(
    hands, caplog
) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FAILING))
    await reaches(hands, ref, "failed")
    with pytest.raises(LimitExceededError, match="1 changes are more than the limit of 0"):
        await sync(options=options(hands, max_changes=0))
    assert (await hands.state(run)).type == "RUNNING"
    assert any("nothing is changed" in line for line in caplog.messages)


async def test_one_flow_run_covers_several_cycles(hands, monkeypatch, caplog) -> None:
    monkeypatch.setenv("PREFECT_AGENT_CPLN_MONITOR_INTERVAL", "0.05")
    result = await sync(options=options(hands), cycles=3)
    assert result["cycles"] == 3
    lines = [
        line for line in caplog.messages if "[CPLN] Sync" in line and "longer than" not in line
    ]
    assert [line.partition(" > ")[0] for line in lines] == [
        "[CPLN] Sync CPLN→Prefect",
        "[CPLN] Sync Prefect→CPLN",
    ]
    assert all("0 runs and jobs on 0 workloads checked" in line for line in lines)


async def test_a_platform_that_fails_stops_no_flow(hands, caplog) -> None:
    await hands.workload("pass")
    hands.local.platform.faults.add(Fault(path=".*/-query", status=503, times=None))
    result = await sync_prefect_to_cpln(options=options(hands))
    assert result["unread"] == 1
    assert any("skipped (unreadable)" in line for line in caplog.messages)


async def test_a_wrong_org_or_token_is_said_before_anything_is_done(
    hands, caplog, monkeypatch
) -> None:
    with pytest.raises(NotFoundError):
        await sync(org="nowhere")
    hands.local.platform.faults.add(Fault(path="/org/local", status=401, times=None))
    with pytest.raises(UnauthorizedError, match="CPLN_TOKEN"):
        await sync()
    assert [line for line in caplog.messages if line.startswith("[CPLN] Init")]


async def test_a_repeated_action_is_one_event(hands) -> None:
    run = await hands.run(Pending(), Running())
    ref = await hands.container(run, await hands.workload(FAILING))
    await reaches(hands, ref, "failed")
    plan = await Cycles(hands).plan()
    (action,) = plan.changes
    for _ in range(2):
        evidence.events([Outcome(action, done=True)])
    with anyio.fail_after(PATIENCE_SECONDS):
        while not (found := await _events(hands, action)):  # noqa: ASYNC110 - another process does it
            await anyio.sleep(0.2)
    assert [event["event"] for event in found] == ["prefect.cpln.sync.crash"]


async def _events(hands: Hands, action):
    body = {
        "filter": {
            "event": {"name": ["prefect.cpln.sync.crash"]},
            "id": {"id": [str(event_id(action))]},
        }
    }
    answer = await hands.prefect.request("POST", "/events/filter", json=body)
    return answer.json()["events"]


async def test_what_somebody_should_look_at_is_said_once_by_all_runs(hands, caplog) -> None:
    run = await hands.run(Pending(), Running())
    await hands.prefect.update_flow_run(run.id, infrastructure_pid="nonsense")

    def said() -> int:
        return sum("malformed" in line for line in caplog.messages)

    for _ in range(2):
        await sync(options=options(hands))
        assert said() == 1
    await hands.become(run, Completed())
    await sync(options=options(hands))
    await hands.become(run, Running(), force=True)
    await sync(options=options(hands))
    assert said() == 2


class Between:
    """Counts the cycles of a run between which Prefect fails; the pauses between take no time."""

    def __init__(self, hands: Hands, monkeypatch, successor, cycles: int) -> None:
        self.slept: list[float] = []
        began = now()
        monkeypatch.setattr(
            "cpln_flows.reconcile.cycles.clock", lambda: began + timedelta(seconds=sum(self.slept))
        )
        cadence = Cadence(began, timedelta(seconds=60), cycles)
        observer = Cycles(hands).observer
        clocks = ServerClocks(PrefectClock(hands.prefect), hands.client)
        self.reconciler = Reconciler(
            observer, clocks, cadence, successor, logging.getLogger("x"), sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def __call__(self) -> int:
        async for _ in self.reconciler.cycles():
            snapshot = await self.reconciler.observe()
            await self.reconciler.act(snapshot, self.reconciler.decide(snapshot))
        return self.reconciler.summary.cycles


async def test_an_error_of_prefect_between_two_cycles_ends_no_run(hands, monkeypatch) -> None:
    async def fails() -> datetime | None:
        raise OSError("Prefect restarts")

    assert await Between(hands, monkeypatch, fails, 3)() == 3


async def test_the_successor_that_was_known_before_an_error_counts(hands, monkeypatch) -> None:
    known = [now() + timedelta(seconds=90)]

    async def successor() -> datetime | None:
        if not known:
            raise OSError("Prefect restarts")
        return known.pop()

    between = Between(hands, monkeypatch, successor, 10)
    assert await between() == 2
    assert sum(between.slept) == pytest.approx(30, abs=0.1), "it makes room for its successor"


async def test_a_run_goes_on_when_its_artifact_cannot_be_written(hands, monkeypatch) -> None:
    async def none() -> datetime | None:
        return None

    async def fails(*_, **__) -> None:
        raise OSError("Prefect restarts")

    monkeypatch.setattr(artifacts, "acreate_markdown_artifact", fails)
    run = await hands.run(Pending(), Running())
    await reaches(hands, await hands.container(run, await hands.workload(FAILING)), "failed")
    assert await Between(hands, monkeypatch, none, 2)() == 2
    assert (await hands.state(run)).type == "CRASHED"


def test_sync_code_calls_it_plainly(local) -> None:
    assert sync(options=SyncOptions(work_pool="none"))["cycles"] == 1
