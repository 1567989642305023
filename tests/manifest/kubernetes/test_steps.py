"""Init containers as a part of the main command, where that does the same."""

import subprocess

import pytest

from tests.manifest.kubernetes.jobs import MAIN, POD, converted, faults

STEP = {
    "name": "init",
    "image": "ubuntu:24.04",
    "command": ["sh", "-c"],
    "args": ["echo 'first step'"],
}
COMMAND = (f"{MAIN}.command", ["printf", "%s\n"])
ARGS = (f"{MAIN}.args", ["it's", "$HOME"])


def _steps(*steps):
    return (f"{POD}.initContainers", list(steps))


def _run(job) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [job.main.command, *job.main.args], capture_output=True, text=True, check=False
    )


def test_steps_run_before_the_main_program() -> None:
    done = _run(
        converted(COMMAND, ARGS, _steps(STEP, STEP | {"name": "next", "args": ["echo second"]}))
    )
    assert done.stdout == "first step\nsecond\nit's\n$HOME\n"


def test_failed_step_is_the_end_of_the_job() -> None:
    done = _run(converted(COMMAND, ARGS, _steps(STEP | {"args": ["exit 7"]})))
    assert (done.returncode, done.stdout) == (7, "")


def test_main_program_takes_the_place_of_the_shell() -> None:
    job = converted(
        (f"{MAIN}.command", ["sh", "-c", "echo $$ $PPID"]), _steps(STEP | {"args": ["true"]})
    )
    with subprocess.Popen(
        [job.main.command, *job.main.args], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.communicate()[0].split()[0] == str(process.pid)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        pytest.param(STEP | {"image": "busybox"}, "its image busybox differs", id="image"),
        pytest.param(
            {"name": "init", "image": "ubuntu:24.04"}, "it has no command", id="no-command"
        ),
        pytest.param(
            STEP | {"env": [{"name": "A", "value": "1"}]}, "it has other variables", id="variables"
        ),
        pytest.param(STEP | {"workingDir": "/x"}, "it has another working directory", id="folder"),
        pytest.param(
            STEP | {"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}},
            "it has other hooks",
            id="hooks",
        ),
        pytest.param(
            STEP | {"command": ["python"]},
            "neither it nor the main container starts a shell",
            id="no-shell",
        ),
    ],
)
def test_step_that_would_run_otherwise_is_refused(step, says) -> None:
    ((path, message),) = faults(COMMAND, ARGS, _steps(step)).items()
    assert path == f"{POD}.initContainers[0]"
    assert says in message


def test_main_command_of_an_image_is_not_known() -> None:
    (message,) = faults(_steps(STEP)).values()
    assert "the main container has no command" in message
