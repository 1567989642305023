import pickle

import pytest

from cpln_flows import errors
from cpln_flows.errors import ApiError, CplnError, Fault, JobFailedError, ManifestError, RateLimitedError


def _all(kind: type) -> list[type]:
    return [kind, *(sub for child in kind.__subclasses__() for sub in _all(child))]


EXAMPLES = {
    ManifestError: lambda: ManifestError([Fault("spec", "is missing")]),
    ApiError: lambda: ApiError(status=404, method="GET", path="/org/acme", message="gone", hint="look", retry_after=2.0),
    JobFailedError: lambda: JobFailedError("it failed", infrastructure_pid="a:b:c:d", exit_code=3, last_lines=["x"]),
}


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
    missing = [kind.__name__ for kind in _all(CplnError) if kind.__name__ not in (errors.__doc__ or "")]
    assert missing == []


def test_a_failed_job_is_a_runtime_error_for_code_written_for_prefect_cpln() -> None:
    assert issubclass(JobFailedError, RuntimeError)


@pytest.mark.parametrize(("message", "is_quota"), [("Quota exceeded for workloads", True), ("slow down", False)])
def test_a_quota_is_told_from_a_rate_limit_by_its_message(message: str, *, is_quota: bool) -> None:
    assert RateLimitedError(status=429, method="POST", path="/", message=message).is_quota is is_quota


def test_a_manifest_error_lists_every_fault_with_its_path() -> None:
    error = ManifestError([Fault("spec.a", "is missing"), Fault("spec.b", "is wrong")])
    assert "spec.a: is missing" in str(error)
    assert "spec.b: is wrong" in str(error)
