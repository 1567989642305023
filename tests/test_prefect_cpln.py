import importlib.metadata
import pickle

import pytest
import requests

import cpln_flows
import prefect_cpln
from prefect_cpln import credentials, exceptions, flows, jobs


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (prefect_cpln, "CplnClient"),
        (prefect_cpln, "CplnConfig"),
        (prefect_cpln, "CplnCredentials"),
        (prefect_cpln, "CplnJob"),
        (prefect_cpln, "CplnWorker"),
        (prefect_cpln, "run_namespaced_job"),
        (credentials, "CplnClient"),
        (credentials, "CplnConfig"),
        (credentials, "CplnCredentials"),
        (flows, "run_namespaced_job"),
        (jobs, "CplnJob"),
        (jobs, "CplnJobRun"),
        *((jobs, f"{verb}_workload") for verb in ("create", "delete", "patch", "read", "replace")),
        (jobs, "list_workloads"),
    ],
)
def test_the_old_name_is_the_new_thing(module, name) -> None:
    assert getattr(module, name) is getattr(cpln_flows, name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CplnJobDefinitionError", "ManifestError"),
        ("CplnJobFailedError", "JobFailedError"),
        ("CplnJobTimeoutError", "JobTimeoutError"),
        ("CplnResourceNotFoundError", "NotFoundError"),
    ],
)
def test_the_old_errors_are_aliases(old, new) -> None:
    assert getattr(exceptions, old) is getattr(cpln_flows, new)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (exceptions.CplnJobDefinitionError([]), requests.RequestException),
        (exceptions.CplnJobFailedError("x", exit_code=3), requests.RequestException),
        (exceptions.CplnJobTimeoutError("x"), requests.RequestException),
        (
            exceptions.CplnResourceNotFoundError(
                status=404, method="GET", path="/x", message="none"
            ),
            requests.HTTPError,
        ),
    ],
)
def test_old_errors_are_those_of_requests(error, base) -> None:
    assert isinstance(error, base)
    assert (error.request, error.response, error.errno) == (None, None, None)
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - of our own
    assert (type(copied), str(copied), copied.__dict__) == (type(error), str(error), error.__dict__)


def test_version_is_that_of_this_package() -> None:
    assert prefect_cpln.__version__ == importlib.metadata.version("cpln-flows")


def test_beside_prefect_cpln_the_import_says_what_to_uninstall(monkeypatch) -> None:
    monkeypatch.setattr(prefect_cpln, "distribution", lambda _: object())
    with pytest.raises(ImportError, match="pip uninstall prefect-cpln"):
        prefect_cpln._refuse_the_other_one()


def test_prefect_finds_the_blocks_by_the_entry_point() -> None:
    (point,) = [
        point
        for point in importlib.metadata.entry_points(group="prefect.collections")
        if point.name == "cpln_flows"
    ]
    assert point.load().CplnJob is cpln_flows.CplnJob
