"""What a person reads of a job that fails: one paragraph, once, and no internals of the library."""

import re
import shlex
from pathlib import Path

import anyio
import pytest
from prefect import flow

from cpln_flows import CplnJob, JobFailedError, JobTimeoutError, ManifestError, run_namespaced_job
from cpln_flows.emulator import Exit, Line, Script
from tests.manifests import FAILING, FOREVER, kubernetes_job
from tests.scenarios import programs, scripted

pytestmark = [pytest.mark.usefixtures("prefect_api")]

_MOST_LINES = 80  # 203 before; what is left is Prefect's own, around the user's flow
_OURS = re.compile(r'File ".*/cpln_flows/')


def _nightly() -> str:
    """The README's first program, with a job that prints two lines and fails."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (program,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
        if "def nightly" in block
    ]
    failing = "print('one'); print('two'); raise SystemExit(3)"
    assert "print('done')" in program
    return program.replace("print('done')", failing)


def test_failing_job_is_one_paragraph(local, prefect_api, tmp_path) -> None:
    code, output = programs.run(
        _nightly(), tmp_path, {**local.environment, "PREFECT_API_URL": prefect_api}
    )
    lines = output.splitlines()
    assert code == 1
    assert output.count("exit code 3") == 1, output
    assert output.count("Last lines:") == 1
    assert [line.split(" - ")[-1] for line in lines if line.endswith(" - two")] == ["two", "two"], (
        "as it ran, and in the report"
    )
    (workload,) = set(re.findall(r"Workload: (\S+),", output))
    assert (
        f"    https://console.cpln.io/console/org/local/gvc/quickstart/workload/{workload}" in lines
    )
    (command,) = [line for line in lines if line.strip().startswith("cpln logs ")]
    assert shlex.split(command)[:2] == ["cpln", "logs"]
    assert len(lines) <= _MOST_LINES, output
    assert len(_OURS.findall(output)) <= 4, (
        "one frame of the call and one of the raise, in Prefect's log and in Python's"
    )


def test_states_say_the_cause_on_one_line(local) -> None:
    state = run_namespaced_job(CplnJob(v1_job=kubernetes_job(FAILING)), return_state=True)
    assert re.fullmatch(r"job local:quickstart:test-job-\w+:\S+ failed \(exit 3\)", state.message)
    assert (state.type, state.name) == ("FAILED", "Failed")
    error = state.result(raise_on_failure=False)
    assert isinstance(error, JobFailedError)
    assert (error.exit_code, error.last_lines[0].split(" - ")[1]) == (3, "about to fail")


def test_timed_out_job_keeps_its_state_name(local) -> None:
    state = run_namespaced_job(
        CplnJob(v1_job=kubernetes_job(FOREVER), timeout_seconds=0.5), return_state=True
    )
    assert (state.type, state.name) == ("FAILED", "TimedOut")
    assert "took longer than timeout_seconds=0.5" in state.message
    with pytest.raises(JobTimeoutError):
        state.result()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_error_in_a_flow_is_brief_and_whole(local, is_async, caplog) -> None:
    """Brief for the flow, whose log has the whole; type and attributes stay."""
    caught: list[JobFailedError] = []
    job = CplnJob(v1_job=kubernetes_job(FAILING))

    @flow
    def sync_parent() -> None:
        try:
            run_namespaced_job(job)
        except JobFailedError as error:
            caught.append(error)

    @flow
    async def async_parent() -> None:
        try:
            await run_namespaced_job(job)
        except JobFailedError as error:
            caught.append(error)

    anyio.run(async_parent) if is_async else sync_parent()
    (error,) = caught
    assert str(error) == f"job {error.infrastructure_pid} failed (exit 3)"
    assert (error.exit_code, error.last_lines[0].split(" - ")[1]) == (3, "about to fail")
    (report,) = [line for line in caplog.messages if "[CPLN] Job" in line and "exit code 3" in line]
    assert "about to fail" in report
    assert not any("Traceback" in (record.exc_text or "") for record in caplog.records)


def test_steps_of_a_job_in_a_flow_report_once(local, caplog) -> None:
    """Without the ready-made flow: a user's own flow that triggers and waits."""

    @flow
    def parent() -> None:
        with pytest.raises(JobFailedError, match=r"^job \S+ failed \(exit 3\)$"):
            CplnJob(v1_job=kubernetes_job(FAILING)).trigger().wait_for_completion()
        with pytest.raises(
            ManifestError, match=r"^the job manifest cannot be run on Control Plane: kind: .*Pod"
        ):
            CplnJob(v1_job={"kind": "Pod"}).trigger()

    parent()
    assert len([line for line in caplog.messages if "exit code 3" in line]) == 1
    assert (
        len(
            [
                line
                for line in caplog.messages
                if "[CPLN] Job" in line and "kind: expected Job" in line
            ]
        )
        == 1
    )


def test_outside_of_a_run_the_error_is_the_report() -> None:
    from cpln_flows.local import local_platform

    with local_platform(scripted.platform(Script([Line(0, "a"), Exit(0.1, code=7)]))) as local:
        run = scripted.run_of(local)
        with pytest.raises(JobFailedError) as caught:
            anyio.run(scripted.finish, run)
    first, *more = str(caught.value).splitlines()
    assert first.startswith(f"job {run.infrastructure_pid} failed: exit code 7")
    assert more[0] == "Last lines:"
    assert more[-1].startswith("  cpln logs ")
    assert "\n" not in repr(caught.value)


@pytest.mark.parametrize(
    ("call", "area"),
    [
        pytest.param("sync('nowhere')", "Sync CPLN→Prefect", id="sync"),
        pytest.param("cleanup_orphaned_workloads('nowhere')", "Cleanup", id="clean-up"),
        # Nobody waits for a job that may be about to print its first line.
        pytest.param("stream_logs('command-that-nobody-knows', follow=False)", "Logs", id="logs"),
    ],
)
def test_failed_maintenance_is_one_paragraph(call, area, local, prefect_api, tmp_path) -> None:
    name = call.split("(", maxsplit=1)[0]
    program = (
        f"from prefect import flow\nfrom cpln_flows import {name}\n\n"
        f"@flow\ndef night():\n    {call}\n\nnight()\n"
    )
    if name != "stream_logs":
        program = f"from cpln_flows import {name}\n{call}\n"
    _, output = programs.run(
        program, tmp_path, {**local.environment, "PREFECT_API_URL": prefect_api}
    )
    (said,) = [line for line in output.splitlines() if "ERROR" in line and f"[CPLN] {area}" in line]
    assert "nowhere" in said or "command-that-nobody-knows" in said
    assert len(_OURS.findall(output)) <= (4 if name == "stream_logs" else 2), output
