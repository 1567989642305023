"""The private members of Prefect that the worker depends on."""

import re
from pathlib import Path

import pytest
from prefect.workers.base import BaseWorker

import cpln_flows.worker
from cpln_flows import CplnWorker
from cpln_flows.worker import prefect_internals

FOLDER = Path(cpln_flows.worker.__file__).parent


@pytest.fixture
def worker(prefect_api) -> CplnWorker:
    """A worker that was made and not started."""
    return CplnWorker(work_pool_name="none")


def test_this_prefect_has_all_of_them(worker) -> None:
    assert prefect_internals.missing(worker) == []


@pytest.mark.parametrize("name", [*prefect_internals.OVERRIDDEN, *prefect_internals.CALLED])
def test_method_that_was_renamed_is_named(name, worker, monkeypatch) -> None:
    monkeypatch.delattr(BaseWorker, name)
    assert f"BaseWorker.{name}: not there" in prefect_internals.missing(worker)


def test_method_with_other_parameters_is_named(worker, monkeypatch) -> None:
    monkeypatch.setattr(BaseWorker, "_submit_run", lambda self, flow_run, slot: None)
    assert prefect_internals.missing(worker) == [
        "BaseWorker._submit_run: takes flow_run, slot instead of flow_run"
    ]


@pytest.mark.parametrize("name", prefect_internals.ATTRIBUTES)
def test_attribute_that_was_renamed_is_named(name, worker) -> None:
    delattr(worker, name)
    assert f"BaseWorker.{name}: not there" in prefect_internals.missing(worker)


def test_worker_overrides_and_uses_no_others() -> None:
    source = (FOLDER / "worker.py").read_text()
    of_prefect = {name for name in vars(BaseWorker) if re.fullmatch("_[a-z][a-z_]*", name)}
    of_prefect |= set(
        re.findall(r"self\.(_[a-z_]+)", Path(BaseWorker.__init__.__code__.co_filename).read_text())
    )
    used = set(re.findall(r"(?:self|super\(\))\.(_[a-z][a-z_]*)|def (_[a-z][a-z_]*)\(", source))
    names = {name for pair in used for name in pair if name} & of_prefect
    known = {
        *prefect_internals.OVERRIDDEN,
        *prefect_internals.CALLED,
        *prefect_internals.ATTRIBUTES,
    }
    assert names - known == set()
