"""Every request of a job's life meets every fault of the network and the platform.

All of them form one grid, with one job in each of its cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from cpln_flows import CplnError, JobFailedError, JobTimeoutError
from cpln_flows.emulator import Fault
from cpln_flows.errors import ServerError, SubmissionUnknownError
from tests import proof
from tests.manifests import texts
from tests.scenarios import scripted
from tests.scenarios.scripted import ENDLESS, FAILURE, LINES, SUCCESS, Cell, Outcome

pytestmark = pytest.mark.xdist_group("faults")


@dataclass(frozen=True)
class Request:
    """One request of a job's life, and how to meet it."""

    method: str
    path: str
    skip: int = 0
    private: bool = True
    stops: bool = False
    """Whether the job has to be stopped, because it takes too long."""
    fails: bool = False
    """Whether the job fails: then its exit code is asked for."""
    websocket: bool = False
    live: bool = False
    """Whether it is made only while the job runs."""


REQUESTS = {
    "location": Request("GET", "/gvc/quickstart$"),
    "query": Request("POST", "/-command/-query$", private=False),
    "create": Request("POST", "/workload$"),
    "readiness": Request("GET", "/deployment$"),
    "start": Request("POST", "/-command$"),
    "status": Request("GET", "/-command/[^/]+$"),
    "exit-code": Request("GET", "/deployment/[^/]+$", fails=True),
    "discovery": Request("GET", "/discovery$", live=True),
    "tail": Request("GET", "/tail$", websocket=True, live=True),
    "logs": Request("GET", "/query_range$"),
    "stop": Request("POST", "/-command$", skip=1, stops=True),
    "delete": Request("DELETE", "/workload/[^/]+$"),
}
FAULTS: dict[str, dict[str, Any]] = {
    "timeout-before": {"timeout": "before"},
    "timeout-after": {"timeout": "after"},
    "reset-before": {"reset": "before"},
    "reset-after": {"reset": "after"},
    "429": {"status": 429},
    "429-retry-after": {"status": 429, "retry_after": 0.2},
    **{f"{status}-before": {"status": status} for status in (500, 502, 503, 504)},
    **{f"{status}-after": {"status": status, "effect": "after"} for status in (500, 502, 503, 504)},
    "truncated": {"truncate": "length", "effect": "after"},
    "half-a-body": {"truncate": "body", "effect": "after"},
    "not-json": {"status": 200, "body": "<html>all is well</html>", "effect": "after"},
}
HANDSHAKE = {
    "timeout-before",
    "reset-before",
    "429",
    "429-retry-after",
    *(f"{n}-before" for n in (500, 502, 503, 504)),
}
# One of each kind, as far as the client tells them apart.
OF_EACH_KIND = [
    "timeout-before",
    "timeout-after",
    "reset-after",
    "429-retry-after",
    "503-before",
    "500-after",
    "truncated",
    "not-json",
]
OFTEN = ["503-before", "timeout-after"]
LASTING_KINDS = ["503-before", "timeout-after", "not-json"]


def _cells(*, is_long: bool) -> list[tuple[str, str, int]]:
    """Return which request meets which fault, and how often.

    The long profile has every combination, the default suite each kind.
    """
    return [
        (request, fault, times)
        for request in REQUESTS
        for times, kinds in ((1, OF_EACH_KIND), (3, OFTEN))
        for fault in (FAULTS if is_long else kinds)
        if not REQUESTS[request].websocket or fault in HANDSHAKE
    ]


def _lasting_cells(*, is_long: bool) -> list[tuple[str, str]]:
    kinds = OF_EACH_KIND if is_long else LASTING_KINDS
    return [
        (name, fault)
        for name in REQUESTS
        for fault in kinds
        if not REQUESTS[name].websocket or fault in HANDSHAKE
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = {"is_long": proof.is_long(metafunc.config)}
    match metafunc.function.__name__:
        case "test_a_fault_changes_nothing_about_the_job":
            metafunc.parametrize(("name", "fault", "times"), _cells(**wanted), ids=str)
        case (
            "test_whatever_lasts_there_is_one_job_at_most_and_the_right_result_or_an_error_of_ours"
        ):
            metafunc.parametrize(("name", "fault"), _lasting_cells(**wanted))


def _cell(name: str, fault: str, times: int | None, **settings: Any) -> Cell:
    request = REQUESTS[name]
    return Cell(
        faults=(
            Fault(
                method=request.method,
                path=request.path,
                skip=request.skip,
                times=times,
                **FAULTS[fault],
            ),
        ),
        script=ENDLESS if request.stops else FAILURE if request.fails else SUCCESS,
        fields={
            "delete_after_completion": request.private,
            "timeout_seconds": 1 if request.stops else None,
        },
        settings=settings | ({"logs_endpoint": None} if name == "discovery" else {}),
        warm=not request.private,
        held=request.live,
    )


@pytest.fixture(scope="module")
def outcomes(request) -> dict[tuple[str, str, int], Outcome]:
    """What became of the jobs of the whole grid."""
    return scripted.outcomes_of(
        {cell: _cell(*cell) for cell in _cells(is_long=proof.is_long(request.config))}
    )


def test_a_fault_changes_nothing_about_the_job(name, fault, times, outcomes) -> None:
    request, outcome = REQUESTS[name], outcomes[(name, fault, times)]
    assert outcome.fired[0], "the fault met no request"
    assert outcome.jobs_started == 1
    assert outcome.active_jobs == []
    if request.stops:
        assert isinstance(outcome.error, JobTimeoutError), outcome.error
        assert "it was stopped" in str(outcome.error)
    elif request.fails:
        assert isinstance(outcome.error, JobFailedError), outcome.error
        assert outcome.error.exit_code == 3
    else:
        assert outcome.error is None
        assert texts(outcome.result or "") == LINES
    assert len(outcome.workloads) == (0 if request.private else 1)


@dataclass(frozen=True)
class Lasting:
    """What a request that never succeeds comes to."""

    error: type[BaseException] | None
    says: tuple[str, ...] = ()
    jobs_started: int = 1
    workloads: int = 0


LASTING = {
    "location": Lasting(ServerError, ("503", "/gvc/quickstart"), jobs_started=0),
    "query": Lasting(ServerError, ("503", "-query"), jobs_started=0, workloads=1),
    "create": Lasting(ServerError, ("503", "POST"), jobs_started=0),
    "readiness": Lasting(ServerError, ("503", "/deployment"), jobs_started=0),
    "start": Lasting(
        SubmissionUnknownError,
        ("started the job 3 times", "503", "cpln-flows/submission"),
        jobs_started=0,
    ),
    "status": Lasting(JobTimeoutError, ("last known stage: none", "IT MAY STILL RUN", "503")),
    "exit-code": Lasting(JobFailedError, ("failed: container main: Error",)),
    "discovery": Lasting(None),
    "tail": Lasting(None),
    "logs": Lasting(None),
    "stop": Lasting(JobTimeoutError, ("IT MAY STILL RUN", "503")),
    "delete": Lasting(None, workloads=1),
}


PATIENCE = {"retry_seconds": 0.5, "stop_grace_seconds": 1.5}


def _lasting(name: str, fault: str) -> Cell:
    cell = _cell(name, fault, None, **PATIENCE)
    return (
        replace(cell, fields={**(cell.fields or {}), "timeout_seconds": 1})
        if name == "status"
        else cell
    )


@pytest.fixture(scope="module")
def lasting(request) -> dict[tuple[str, str], Outcome]:
    """What became of the jobs one of whose requests never succeeds, whatever it meets."""
    return scripted.outcomes_of(
        {cell: _lasting(*cell) for cell in _lasting_cells(is_long=proof.is_long(request.config))}
    )


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts_is_said_and_leaves_nothing_that_runs(name, lasting) -> None:
    expected, outcome = LASTING[name], lasting[name, "503-before"]
    if expected.error is None:
        assert outcome.error is None
        assert name == "discovery" or texts(outcome.result or "") == LINES
    else:
        assert type(outcome.error) is expected.error, outcome.error
    for text in expected.says:
        assert text in str(outcome.error)
    assert outcome.jobs_started == expected.jobs_started
    assert outcome.active_jobs == []
    assert len(outcome.workloads) == expected.workloads


def test_whatever_lasts_there_is_one_job_at_most_and_the_right_result_or_an_error_of_ours(
    name, fault, lasting
) -> None:
    outcome = lasting[name, fault]
    assert outcome.fired[0], "the fault met no request"
    assert outcome.jobs_started <= 1
    assert outcome.active_jobs == []
    assert outcome.error is None or isinstance(outcome.error, CplnError), outcome.error
    if outcome.error is None and outcome.run.receipt.complete:
        assert texts(outcome.result or "") == LINES
    if isinstance(outcome.error, JobTimeoutError):
        assert "it was stopped" in str(outcome.error) or "IT MAY STILL RUN" in str(outcome.error)
