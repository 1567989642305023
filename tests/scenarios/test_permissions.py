"""A token that lacks one permission: the error names it; what was possible without it was done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import httpx
import pytest

from cpln_flows import ConfigurationError, JobTimeoutError
from cpln_flows.emulator import Script, ScriptedExecutor
from cpln_flows.errors import ForbiddenError
from cpln_flows.local import LocalPlatform, local_platform
from tests.manifests import kubernetes_job, texts
from tests.scenarios import programs, scripted
from tests.scenarios.permissions import DOCUMENTED, grant, limited
from tests.scenarios.scripted import ENDLESS, LINES, SUCCESS


@contextmanager
def _granted(grants: dict[str, list[str]], script: Script = SUCCESS) -> Iterator[LocalPlatform]:
    """A platform on which the token of the local platform may do this and nothing else."""
    with local_platform(limited(executor=ScriptedExecutor(script))) as local:
        grant(local.url, grants)
        yield local


def _without(permission: str) -> dict[str, list[str]]:
    return {
        kind: [one for one in permissions if one != permission] or ["view"]
        for kind, permissions in DOCUMENTED.items()
    }


def test_what_the_readme_names_is_enough_for_a_job() -> None:
    with _granted(DOCUMENTED) as local:
        assert (
            texts(anyio.run(scripted.finish, scripted.run_of(local, location="local-1"))) == LINES
        )
        assert local.platform.workloads() == []


@pytest.mark.parametrize("permission", ["create", "exec.runCronWorkload"])
def test_a_job_that_may_not_be_started_says_which_permission_is_missing(permission) -> None:
    with _granted(_without(permission)) as local:
        with pytest.raises(ForbiddenError) as caught:
            anyio.run(scripted.finish, scripted.run_of(local, location="local-1"))
        assert f'requires permission "{permission}"' in str(caught.value)
        assert "grant the permission" in str(caught.value)
        assert local.platform.workloads() == []
        assert local.platform.jobs_started == 0


def test_a_job_that_may_not_be_stopped_goes_with_its_workload_and_that_is_said() -> None:
    with _granted(_without("exec.stopReplica"), ENDLESS) as local:
        run = scripted.run_of(
            local, location="local-1", timeout_seconds=0.3, settings={"stop_grace_seconds": 0.5}
        )
        with pytest.raises(
            JobTimeoutError, match=r'MAY STILL RUN.* requires permission "exec.stopReplica"'
        ):
            anyio.run(scripted.finish, run)
        programs.until(lambda: not local.platform.active_jobs)
        assert local.platform.workloads() == []


def test_a_workload_that_may_not_be_deleted_is_left_and_that_is_said(caplog) -> None:
    with _granted(_without("delete")) as local:
        assert (
            texts(anyio.run(scripted.finish, scripted.run_of(local, location="local-1"))) == LINES
        )
        assert len(local.platform.workloads()) == 1
    (said,) = [line for line in caplog.messages if "could not be deleted" in line]
    assert 'requires permission "delete"' in said


@pytest.mark.parametrize(
    ("granted", "source", "says"),
    [
        pytest.param(
            ["view"],
            {"env": [{"name": "A", "value": "cpln://secret/keys.A"}]},
            "names no identity",
            id="identity",
        ),
        pytest.param(
            ["view"], {"envFrom": [{"secretRef": {"name": "keys"}}]}, "may not read them", id="keys"
        ),
    ],
)
def test_secrets_that_may_not_be_given_say_what_to_do(granted, source, says) -> None:
    with _granted(DOCUMENTED | {"secret": granted}) as local:
        with httpx.Client(base_url=local.url, headers={"authorization": "s.root"}) as root:
            body = {"name": "keys", "type": "dictionary", "data": {"A": "1"}}
            root.post("/org/local/secret", json=body).raise_for_status()
        manifest = kubernetes_job("pass")
        manifest["spec"]["template"]["spec"]["containers"][0] |= source
        with pytest.raises(ConfigurationError, match=says):
            anyio.run(scripted.finish, scripted.run_of(local, location="local-1", v1_job=manifest))
        assert local.platform.workloads() == []


def test_logs_that_may_not_be_read_cost_a_job_nothing_but_its_log(caplog) -> None:
    caplog.set_level(logging.WARNING)
    with _granted(_without("readLogs")) as local:
        run = scripted.run_of(local, location="local-1")
        assert anyio.run(scripted.finish, run) == ""
        assert "the logs may not be read" in str(run.receipt)
    (said,) = [line for line in caplog.messages if "bind the permission" in line]
    assert "readLogs" in said
