import pytest

from cpln_flows.errors import JobCancelledError, JobFailedError
from cpln_flows.jobs import failure
from cpln_flows.jobs.failure import Place
from cpln_flows.jobs.submit import StartedJob
from cpln_flows.model.ending import Ending
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.links import GvcRef

PLACE = Place(StartedJob(GvcRef("acme", "dev").workload("w").command("c"), "local-1", 0), True)
LINES = ["2026-04-01T12:00:00+00:00 - ModuleNotFoundError: No module named 'cpln_flows'"]


def test_job_that_fails_because_of_its_image_names_it_below_the_last_lines() -> None:
    error = failure.error_of(Ending(Stage.FAILED, 1), PLACE, LINES)
    assert isinstance(error, JobFailedError)
    first, second, line, advice, *_ = str(error).splitlines()
    assert first == "job acme:dev:w:c failed: exit code 1"
    assert error.summary == "job acme:dev:w:c failed (exit 1)"
    assert (second, line) == ("Last lines:", f"  {LINES[0]}")
    assert advice.startswith("The image has no cpln-flows, which the flow needs; ")


def test_message_of_the_platform_shows_the_fault_without_any_line() -> None:
    message = 'exec: "prefect": executable file not found in $PATH'
    error = failure.error_of(Ending(Stage.FAILED, 127, messages=(message,)), PLACE, [])
    assert "The image has no Prefect; " in str(error)


@pytest.mark.parametrize(
    ("stage", "lines"), [(Stage.FAILED, ["an error"]), (Stage.CANCELLED, LINES)]
)
def test_other_ends_do_not_blame_the_image(stage, lines) -> None:
    error = failure.error_of(Ending(stage), PLACE, lines)
    assert isinstance(error, JobFailedError | JobCancelledError)
    assert "The image" not in str(error)
