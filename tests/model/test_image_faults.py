import pytest

from cpln_flows.model import image_faults

ENGINE = [
    "10:49:30.548 | WARNING | Flow run 'x' - Runner failed to retrieve flow to execute hooks",
    "Traceback (most recent call last):",
    "RuntimeError: Hook subprocess exited with status code 1.",
]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        pytest.param(
            "ModuleNotFoundError: No module named 'cpln_flows'", "no cpln-flows", id="package"
        ),
        pytest.param(
            "prefect.exceptions.ScriptError: No module named 'prefect_cpln'",
            "no cpln-flows",
            id="its-other-name",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'cpln_flows.tasks.new'",
            "another version of cpln-flows",
            id="older-package",
        ),
        pytest.param(
            "2026-04-01T12:00:00.000000+00:00 - RuntimeError: Found incompatible versions:"
            " client: 2.20.25, server: 3.9.1. Major versions must match.",
            "Prefect 2, and the server has Prefect 3",
            id="prefect-2",
        ),
        pytest.param(
            "│ No such command 'execute'.      │", "an old Prefect without", id="old-prefect-2"
        ),
        pytest.param("/usr/bin/python: No module named prefect", "no Prefect", id="python-m"),
        pytest.param(
            "Error while finding module specification for 'prefect.engine' (ModuleNotFoundError:"
            " No module named 'prefect')",
            "no Prefect",
            id="engine",
        ),
        pytest.param("/bin/sh: 1: prefect: not found", "no Prefect", id="sh"),
        pytest.param("bash: prefect: command not found", "no Prefect", id="bash"),
        pytest.param(
            'exec: "prefect": executable file not found in $PATH: unknown', "no Prefect", id="exec"
        ),
    ],
)
@pytest.mark.parametrize("after", [0, 1, 30])
def test_fault_of_an_image_is_recognized_among_other_lines(line, fault, after) -> None:
    advice = image_faults.advice(["hello", line, *ENGINE * after])
    assert advice is not None
    assert advice.startswith(f"The image has {fault}")
    assert "cpln_flows.deploy.build_image" in advice
    assert "\n" not in advice


@pytest.mark.parametrize(
    "line",
    [
        "ModuleNotFoundError: No module named 'pandas'",
        "ModuleNotFoundError: No module named 'cpln_flows_extra'",
        "ModuleNotFoundError: No module named 'prefect_aws'",
        "No module named prefect_docker",
        "the workspace of prefect: not found anywhere",
        "Found incompatible versions of numpy",
        "",
    ],
)
def test_other_lines_are_no_fault_of_an_image(line) -> None:
    assert image_faults.advice([line, *ENGINE]) is None


def test_only_the_beginnings_of_the_last_lines_count() -> None:
    line = "ModuleNotFoundError: No module named 'cpln_flows'"
    within = ["x"] * (image_faults.LAST_LINES - 1)
    assert image_faults.advice([line, *within]) is not None
    assert image_faults.advice([line, *within, "x"]) is None
    assert image_faults.advice(["x" * image_faults.LONGEST_LINE + line]) is None


def test_newest_fault_is_the_one_that_is_reported() -> None:
    advice = image_faults.advice(["prefect: not found", "No module named 'cpln_flows'"])
    assert advice is not None
    assert advice.startswith("The image has no cpln-flows")
