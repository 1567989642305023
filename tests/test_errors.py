import pickle

import pytest

from cpln_flows import errors
from cpln_flows.errors import (
    AnswerTooLargeError,
    ApiError,
    CplnError,
    Fault,
    JobFailedError,
    ManifestError,
    RateLimitedError,
)


def _all(kind: type) -> list[type]:
    children = [child for child in kind.__subclasses__() if not child.__name__.startswith("_")]
    return [kind, *(sub for child in children for sub in _all(child))]


EXAMPLES = {
    AnswerTooLargeError: lambda: AnswerTooLargeError("GET /org", "9 MiB"),
    ManifestError: lambda: ManifestError([Fault("spec", "is missing")]),
    ApiError: lambda: ApiError(
        status=404, method="GET", path="/org/acme", message="gone", hint="look", retry_after=2.0
    ),
    JobFailedError: lambda: JobFailedError(
        "it failed", infrastructure_pid="a:b:c:d", exit_code=3, last_lines=["x"]
    ),
}


def _failed(**fields) -> JobFailedError:
    return JobFailedError(
        "it failed", infrastructure_pid="a:b:c:d", exit_code=3, last_lines=["x"], **fields
    )


@pytest.mark.parametrize("kind", _all(CplnError), ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_with_its_attributes(kind: type) -> None:
    make = next((EXAMPLES[base] for base in kind.__mro__ if base in EXAMPLES), None)
    if make is None:
        error = kind("it went wrong")
    else:
        template = make()
        error = kind.__new__(kind, *template.args)
        error.args = template.args
        error.__dict__.update(template.__dict__)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


def test_the_tree_in_the_docstring_names_every_class() -> None:
    missing = [
        kind.__name__ for kind in _all(CplnError) if kind.__name__ not in (errors.__doc__ or "")
    ]
    assert missing == []


def test_a_failed_job_is_a_runtime_error_for_code_written_for_prefect_cpln() -> None:
    assert issubclass(JobFailedError, RuntimeError)


@pytest.mark.parametrize(
    ("message", "is_quota"), [("Quota exceeded for workloads", True), ("slow down", False)]
)
def test_a_quota_is_told_from_a_rate_limit_by_its_message(message: str, *, is_quota: bool) -> None:
    assert (
        RateLimitedError(status=429, method="POST", path="/", message=message).is_quota is is_quota
    )


def test_a_manifest_error_lists_every_fault_with_its_path() -> None:
    error = ManifestError([Fault("spec.a", "is missing"), Fault("spec.b", "is wrong")])
    assert "spec.a: is missing" in str(error)
    assert "spec.b: is wrong" in str(error)


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        pytest.param(
            CplnError("cannot do it: no; try again"), "cannot do it: no", id="without-the-advice"
        ),
        pytest.param(CplnError("cannot do it\nlast lines:\n  x"), "cannot do it", id="one-line"),
        pytest.param(CplnError(""), "", id="nothing"),
        pytest.param(
            ApiError(
                status=403,
                method="GET",
                path="/org/a",
                message='requires "x"; ask',
                hint="grant it",
            ),
            'GET /org/a: 403 requires "x"; ask',
            id="the-platforms-own-words",
        ),
        pytest.param(
            ManifestError([Fault("a", "is missing"), Fault("b", "is wrong")]),
            "a: is missing (and 1 more)",
            id="faults",
        ),
        pytest.param(
            _failed(reason="Error"), "job a:b:c:d failed (exit 3)", id="a-reason-that-says-nothing"
        ),
        pytest.param(
            _failed(reason="OOMKilled"),
            "job a:b:c:d failed (OOMKilled, exit 3)",
            id="a-reason-that-says-more",
        ),
        pytest.param(JobFailedError("it failed; see x"), "it failed", id="a-job-that-is-not-known"),
    ],
)
def test_summary_is_what_happened_on_one_line(error: CplnError, summary: str) -> None:
    assert error.summary.endswith(summary)
    assert repr(error) == f"{type(error).__name__}({error.summary!r})"


def test_brief_error_keeps_type_and_attributes() -> None:
    error = _failed(reason="OOMKilled")
    error.add_note("the workload could not be deleted")
    brief = error.brief()
    assert type(brief) is JobFailedError
    assert str(brief) == brief.summary == error.summary
    assert (brief.exit_code, brief.reason, brief.last_lines) == (3, "OOMKilled", ("x",))
    assert not hasattr(brief, "__notes__")
