import pytest

from cpln_flows.model.ending import Ending, ending_of, forgotten_ending, main_ended, main_ending
from cpln_flows.model.resources import Command, JobExecution


def _command(stage="failed", **status) -> Command:
    return Command.parse({"id": "9b38", "lifecycleStage": stage, "status": status}, source="test")


def _execution(conditions=(), **container) -> JobExecution:
    answer = {
        "name": "command-9b38",
        "conditions": list(conditions),
        "containers": {"main": {"name": "main", **container}},
    }
    return JobExecution.parse(answer, source="test")


@pytest.mark.parametrize(
    ("command", "execution", "exit_code", "reason", "says"),
    [
        pytest.param(
            _command("completed"), None,
            0, None, "completed, exit code 0", id="success-without-an-execution",
        ),
        pytest.param(
            _command(), None,
            None, None, "the platform reports failed", id="failure-of-which-nothing-is-known",
        ),
        pytest.param(
            _command(), _execution(restarts={"exitCode": 3, "reason": "Error"}),
            3, "Error", "exit code 3", id="code",
        ),
        pytest.param(
            _command(), _execution(restarts={"exitCode": 137}),
            137, None, "exit code 137 (SIGKILL)", id="signal",
        ),
        pytest.param(
            _command(),
            _execution(
                restarts={"exitCode": 137, "reason": "OOMKilled"}, message="memory limit reached"
            ),
            137, "OOMKilled", "memory limit reached", id="out-of-memory",
        ),
        pytest.param(
            _command(),
            _execution([{
                "type": "FailureTarget", "reason": "DeadlineExceeded",
                "message": "was active too long",
            }]),
            None, "DeadlineExceeded", "was active too long", id="deadline",
        ),
        pytest.param(
            _command(messages=["cannot pull image"]), _execution(),
            None, None, "cannot pull image", id="messages-of-the-command",
        ),
        pytest.param(
            _command(messages=[{"message": "no room"}]), None,
            None, None, "no room", id="messages-that-are-objects",
        ),
    ],
)  # fmt: skip
def test_an_ending_says_what_the_platform_says(command, execution, exit_code, reason, says) -> None:
    end = ending_of(command, execution, "main")
    assert (end.exit_code, end.reason) == (exit_code, reason)
    assert says in end.describe()
    assert end.succeeded is (command.lifecycle_stage == "completed")


@pytest.mark.parametrize(
    ("execution", "ended"),
    [
        pytest.param(None, False, id="nothing-is-known"),
        pytest.param(_execution(ready=True), False, id="it-runs"),
        pytest.param(
            _execution(ready=True, restarts={"exitCode": 1, "count": 1}),
            False,
            id="it-was-started-again",
        ),
        pytest.param(_execution(ready=False, restarts={"exitCode": 0}), True, id="it-has-ended"),
    ],
)
def test_the_main_container_has_ended_when_it_has_an_exit_code_and_does_not_run(
    execution, *, ended
) -> None:
    assert (main_ended(execution, "main") is not None) is ended


@pytest.mark.parametrize(("code", "stage"), [(0, "completed"), (1, "failed")])
def test_a_job_with_sidecars_ends_as_its_main_container_did(code, stage) -> None:
    container = _execution(restarts={"exitCode": code}).containers["main"]
    assert main_ending(container).stage == stage


def test_cause_says_each_thing_once() -> None:
    end = Ending(
        "failed",
        3,
        "Error",
        (
            "container main: Error: the container ended with exit code 3",
            "the container ended with exit code 3",
            "disk is full",
        ),
    )
    assert end.cause == "exit code 3, reason Error, disk is full"
    assert (
        Ending("failed", messages=("pulls: no such image", "no such image")).cause
        == "pulls: no such image"
    )
    assert Ending("cancelled").cause == "the platform reports cancelled without a reason"


DEADLINE = {"type": "FailureTarget", "reason": "DeadlineExceeded", "message": "was active too long"}
GAVE_UP = {
    "type": "Failed",
    "reason": "BackoffLimitExceeded",
    "message": "Job has reached the specified backoff limit",
}


def _pair(main, side=None, conditions=(), status="failed") -> JobExecution:
    codes = {"main": main} | ({} if side is None else {"side": side})
    containers = {name: {"name": name, "restarts": restarts} for name, restarts in codes.items()}
    return JobExecution.parse(
        {
            "name": "command-9b38",
            "status": status,
            "conditions": list(conditions),
            "containers": containers,
        },
        source="test",
    )


@pytest.mark.parametrize(
    ("stage", "execution", "end"),
    [
        pytest.param(
            "failed",
            _pair({"exitCode": 0}, {"exitCode": 1}),
            ("completed", 0, None),
            id="sidecar-fails-after-main",
        ),
        pytest.param(
            "failed",
            _pair({"exitCode": 3}, {"exitCode": 0}),
            ("failed", 3, None),
            id="main-fails-sidecar-ends-well",
        ),
        pytest.param(
            "failed", _pair({"exitCode": 3}, {"exitCode": 9}), ("failed", 3, None), id="both-fail"
        ),
        pytest.param(
            "failed", _pair({}, {"exitCode": 1}), ("failed", None, None), id="main-has-no-exit-code"
        ),
        pytest.param(
            "failed",
            _pair({"exitCode": 0}),
            ("failed", None, None),
            id="nobody-else-could-have-failed",
        ),
        pytest.param(
            "cancelled",
            _pair({"exitCode": 0}),
            ("cancelled", None, None),
            id="stopped-and-ended-well",
        ),
        pytest.param(
            "cancelled",
            _pair({"exitCode": 0}, {"exitCode": 1}),
            ("cancelled", None, None),
            id="stopped-with-sidecar",
        ),
        pytest.param(
            "failed",
            _pair({"exitCode": 0}, {"exitCode": 143}, [DEADLINE]),
            ("failed", None, "DeadlineExceeded"),
            id="too-late",
        ),
        pytest.param(
            "failed",
            _pair({"exitCode": 137, "reason": "OOMKilled"}, None, [GAVE_UP]),
            ("failed", 137, "OOMKilled"),
            id="container-says-more-than-controller",
        ),
        pytest.param(
            "failed",
            _pair({"exitCode": 143, "reason": "Error"}, None, [GAVE_UP, DEADLINE]),
            ("failed", 143, "DeadlineExceeded"),
            id="deadline-is-the-cause",
        ),
        pytest.param(
            "failed",
            _pair({"exitCode": 1}, None, [GAVE_UP]),
            ("failed", 1, None),
            id="giving-up-is-no-cause",
        ),
        pytest.param(
            "failed",
            _pair({}, None, [GAVE_UP]),
            ("failed", None, "BackoffLimitExceeded"),
            id="giving-up-is-all-that-is-known",
        ),
    ],
)
def test_main_container_decides_the_end(stage, execution, end) -> None:
    found = ending_of(_command(stage), execution, "main")
    assert (found.stage, found.exit_code, found.reason) == end
    assert found.succeeded or "exit code 0" not in found.describe()


@pytest.mark.parametrize(
    ("execution", "stage"),
    [
        pytest.param(None, None, id="not-listed"),
        pytest.param(_pair({}, status="active"), None, id="active"),
        pytest.param(_pair({"exitCode": 0}, status="active"), "completed", id="main-has-ended"),
        pytest.param(_pair({}, status="successful"), "completed", id="successful-without-details"),
        pytest.param(_pair({}, status="failed"), "failed", id="failed-without-details"),
        pytest.param(_pair({}, status="removed"), None, id="removed"),
    ],
)
def test_execution_tells_end_of_forgotten_command(execution, stage) -> None:
    end = forgotten_ending(execution, "main")
    assert (end and end.stage) == stage


def test_restarting_container_has_not_ended() -> None:
    assert forgotten_ending(_pair({"exitCode": 1}, status="active"), "main", restarts=True) is None
    assert (
        forgotten_ending(_pair({"exitCode": 1}, status="failed"), "main", restarts=True).exit_code
        == 1
    )
