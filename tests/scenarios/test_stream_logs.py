"""Reading the log of a job that another user has started.

From one position to another, while it runs and long after.
"""

import itertools
import re
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)

from cpln_flows import CplnClient, CplnJob, Cursor, LogReceipt, run_namespaced_job, stream_logs
from cpln_flows.api import commands, workloads
from cpln_flows.emulator import (
    Exit,
    Fault,
    Line,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.errors import ConfigurationError, LogStreamError, NotFoundError
from cpln_flows.model.links import CommandRef, GvcRef
from tests.emulator.support import WORKLOAD
from tests.manifests import kubernetes_job, texts
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import programs, scripted
from tests.scenarios.deployed import Deployed

pytestmark = [pytest.mark.usefixtures("prefect_api")]

GVC = GvcRef("local", "quickstart")
COUNT = 6
NUMBERS = [str(n) for n in range(COUNT)]
ENDED = Script([*(Line(0.01 * n, text) for n, text in enumerate(NUMBERS)), Exit(0.1)])
SLOW = Script([*(Line(0.1 * n, text) for n, text in enumerate(NUMBERS)), Exit(0.7)])


def _platform(script):
    return pytest.mark.parametrize(
        "local", [lambda: scripted.platform(script)], indirect=True, ids=[""]
    )


def _started(**fields):
    return CplnJob(
        v1_job=kubernetes_job("see the script"), delete_after_completion=False, **fields
    ).trigger()


def _ended(**fields):
    run = _started(**fields)
    run.wait_for_completion()
    return run


def _shown(job, **options) -> tuple[list[str], LogReceipt]:
    lines: list[str] = []
    receipt = stream_logs(job, lines.append, **options)
    return texts("\n".join(lines)), receipt


@_platform(ENDED)
def test_pid_of_prefect_cpln_means_newest_job(local) -> None:
    run = _ended()
    assert run.infrastructure_pid.startswith("local:quickstart:")
    lines, _ = _shown(run.infrastructure_pid.rpartition(":")[0])
    assert lines == NUMBERS
    with pytest.raises(NotFoundError):
        _shown("local:quickstart:nowhere")


@_platform(ENDED)
def test_the_log_of_a_job_that_has_ended_is_read_by_its_pid_and_by_its_commands_id(local) -> None:
    run = _ended()
    for name in (run.infrastructure_pid, run.command_id):
        lines, receipt = _shown(name)
        assert lines == NUMBERS
        assert str(receipt) == f"complete: {COUNT} lines"
        assert receipt.digest == run.receipt.digest


@_platform(SLOW)
def test_a_job_that_runs_is_followed_to_its_end(local) -> None:
    run = _started()
    assert _shown(run.infrastructure_pid)[0] == NUMBERS
    run.wait_for_completion()


@_platform(SLOW)
def test_without_following_only_what_is_there_is_read(local) -> None:
    run = _started()
    programs.until(lambda: _shown(run.infrastructure_pid, follow=False)[0])
    lines, receipt = _shown(run.infrastructure_pid, follow=False)
    assert lines == NUMBERS[: len(lines)]
    rest, _ = _shown(run.infrastructure_pid, from_cursor=receipt.cursor)
    assert lines + rest == NUMBERS
    run.wait_for_completion()


@_platform(SLOW)
def test_each_reader_goes_on_with_the_very_next_line(local) -> None:
    run = _started()
    found, cursor = [], Cursor()
    while lines := (answer := _shown(run.infrastructure_pid, from_cursor=str(cursor), limit=2))[0]:
        found.append(lines)
        cursor = cursor.merge(answer[1].cursor)
        assert answer[1].lines == len(lines)
    assert found == [["0", "1"], ["2", "3"], ["4", "5"]]
    run.wait_for_completion()


@_platform(ENDED)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"include": "[135]"}, ["1", "3", "5"], id="include"),
        pytest.param({"exclude": "[135]"}, ["0", "2", "4"], id="exclude"),
        pytest.param(
            {"include": "[135]", "exclude": "3", "limit": 2}, ["1", "5"], id="both-with-a-limit"
        ),
        pytest.param({"limit": 0}, [], id="nothing"),
        pytest.param({"containers": ["main"]}, NUMBERS, id="one-container"),
        pytest.param({"containers": ["other"]}, [], id="another-container"),
        pytest.param({"since": datetime(2020, 1, 1, tzinfo=UTC)}, NUMBERS, id="since-long-ago"),
        pytest.param({"since": datetime(2100, 1, 1, tzinfo=UTC)}, [], id="since-a-time-to-come"),
        pytest.param({"until": datetime(2020, 1, 1, tzinfo=UTC)}, [], id="until-long-ago"),
    ],
)
def test_what_is_asked_for_is_shown(options, expected, local) -> None:
    assert _shown(_ended().infrastructure_pid, **options)[0] == expected


@_platform(SLOW)
def test_a_print_function_that_raises_costs_no_line_and_ends_nothing(local, caplog) -> None:
    run, seen = _started(), []

    def print_func(line: str) -> None:
        seen.append(line)
        if len(seen) == 2:
            raise ValueError("once")

    receipt = stream_logs(run.infrastructure_pid, print_func)
    assert texts("\n".join(seen)) == NUMBERS
    assert str(receipt) == f"complete: {COUNT} lines"
    assert "print_func raised ValueError('once')" in caplog.text
    run.wait_for_completion()


@_platform(ENDED)
def test_the_log_outlives_the_workload(local) -> None:
    run = CplnJob(v1_job=kubernetes_job("see the script")).trigger()
    run.wait_for_completion()
    assert local.platform.workloads() == []
    assert _shown(run.infrastructure_pid)[0] == [f"[main] {n}" for n in NUMBERS]


def _old_platform():
    clock = ManualClock(datetime.now(UTC) - timedelta(days=7))
    script = Script([*(Line(0, text) for text in NUMBERS), Exit(1)])
    return Platform(PlatformConfig(), clock=clock, executor=ScriptedExecutor(script, clock=clock))


@pytest.mark.parametrize("local", [_old_platform], indirect=True, ids=[""])
@pytest.mark.parametrize("forgotten", [False, True])
def test_the_log_of_last_week_is_read(forgotten, local) -> None:
    async def start() -> CommandRef:
        async with CplnClient(local.settings.api()) as client:
            await workloads.create(client, GVC, WORKLOAD)
            local.platform.clock.advance(1)
            ref = await commands.start(
                client, GVC.workload("w-1"), location="local-1", overrides=[], tags={}
            )
            await anyio.sleep(0.1)
            local.platform.clock.advance(7 * 86_400)
            if forgotten:
                await workloads.delete(client, GVC.workload("w-1"))
                local.platform.clock.advance(60)
            return ref

    ref = anyio.run(start)
    assert [line[-1] for line in _shown(ref.pid)[0]] == NUMBERS
    assert (
        _shown(ref.pid, since=datetime.now(UTC) - timedelta(days=90), until=datetime.now(UTC))[
            1
        ].lines
        == COUNT
    )
    assert _shown(ref.pid, since=datetime.now(UTC) - timedelta(days=2))[1].lines == 0


@_platform(ENDED)
def test_an_async_caller_awaits(local) -> None:
    run = _ended()
    lines: list[str] = []

    async def main() -> LogReceipt:
        return await stream_logs(run.infrastructure_pid, lines.append)

    assert anyio.run(main).lines == COUNT
    assert texts("\n".join(lines)) == NUMBERS


@_platform(ENDED)
def test_a_flow_run_stands_for_its_job(local) -> None:
    @flow
    def parent() -> None:
        run_namespaced_job(
            CplnJob(v1_job=kubernetes_job("x"), delete_after_completion=False),
            print_func=lambda _: None,
        )

    state = parent(return_state=True)
    with get_client(sync_client=True) as client:
        of_parent = FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[state.state_details.flow_run_id])
        )
        (child,) = client.read_flow_runs(flow_run_filter=of_parent)
    assert _shown(child.id)[0] == NUMBERS
    with pytest.raises(ConfigurationError, match="has no job"):
        stream_logs(state.state_details.flow_run_id, print)


@pytest.mark.parametrize(
    ("job", "options", "says"),
    [
        pytest.param("no such thing!", {}, "neither a pid", id="job"),
        pytest.param("a:b:c:d", {"include": "("}, "include", id="include"),
        pytest.param("a:b:c:d", {"limit": -1}, "limit", id="limit"),
        pytest.param("a:b:c:d", {"from_cursor": "x"}, "from_cursor", id="cursor"),
    ],
)
def test_a_wrong_argument_is_named(job, options, says, local) -> None:
    with pytest.raises(ConfigurationError, match=says):
        stream_logs(job, print, **options)


@_platform(ENDED)
@pytest.mark.parametrize("status", [401, 403])
def test_a_log_that_may_not_be_read_is_an_error_that_says_the_fix(status, local, caplog) -> None:
    run = _ended()
    local.platform.faults.add(Fault(path="/logs/", status=status, times=None))
    with pytest.raises(LogStreamError, match="may not be read"):
        stream_logs(run.infrastructure_pid, print)
    assert len([line for line in caplog.messages if "bind the permission readLogs" in line]) == 1


def _messages(run_id) -> list[str]:
    with get_client(sync_client=True) as client:
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])), limit=200)
    return [log.message for log in logs]


@_platform(ENDED)
def test_a_parent_that_is_run_again_shows_neither_gap_nor_repeat(local) -> None:
    job, tries = _ended(), itertools.count()

    @flow(retries=1)
    def parent() -> None:
        first = next(tries) == 0
        stream_logs(job.infrastructure_pid, limit=3 if first else None)
        if first:
            raise ValueError("again")

    state = parent(return_state=True)
    assert state.is_completed()
    shown = programs.until(
        lambda: (found := _shown_in(state.state_details.flow_run_id))[COUNT - 1 :] and found
    )
    assert shown == NUMBERS


def _shown_in(run_id) -> list[str]:
    return [
        match[1]
        for text in _messages(run_id)
        if (match := re.fullmatch(r"\S+\+00:00 - (\d)", text))
    ]


READER = """
from prefect import flow
from cpln_flows import stream_logs

@flow(name="reader-that-dies")
def parent(job: str):
    stream_logs(job)
"""
LONG = Script([*(Line(0.15 * n, f"line {n}") for n in range(30)), Exit(5)])


@pytest.mark.proof
@_platform(LONG)
def test_a_parent_that_is_killed_and_executed_again_shows_neither_gap_nor_repeat(
    local, prefect_api_url, tmp_path
) -> None:
    job = _started()
    parent = Deployed(
        prefect_api_url,
        tmp_path,
        READER,
        "reader-that-dies",
        environment=local.environment,
        parameters={"job": job.infrastructure_pid},
    )
    process = parent.execute()
    try:
        programs.until(lambda: "line 3" in parent.lines())
    finally:
        parent.kill(process)
    second = parent.execute()
    output, _ = second.communicate(timeout=PATIENCE_SECONDS)
    shown = programs.until(lambda: (found := parent.lines())[29:] and found)
    assert shown == [f"line {n}" for n in range(30)], output
    job.wait_for_completion()


@_platform(SLOW)
def test_one_missing_answer_does_not_end_log(local) -> None:
    run = _started()
    local.platform.faults.add(
        Fault(method="GET", path="/-command/[^/]+$", status=404, skip=1, times=2)
    )
    lines, receipt = _shown(run.infrastructure_pid)
    assert lines == NUMBERS
    assert receipt.complete
