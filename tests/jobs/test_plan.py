"""What one intended job is, before anything is sent."""

from uuid import UUID

import pytest

from cpln_flows.jobs.plan import JobPlan
from cpln_flows.manifest.manifest import ContainerSpec, JobManifest
from cpln_flows.model.identifiers import Owner, Submission
from cpln_flows.model.links import GvcRef

GVC = GvcRef("acme", "dev")


def _plan(*, secrets=("keys",), identity=None, private=True, attempt=0) -> JobPlan:
    env = {f"S{n}": f"cpln://secret/{name}.KEY" for n, name in enumerate(secrets)}
    manifest = JobManifest((ContainerSpec("main", "i", env=env),), name="etl", identity=identity)
    return JobPlan(
        GVC, "here", manifest, Submission(UUID(int=7), attempt), Owner(), private=private
    )


def test_job_without_secrets_gets_no_identity() -> None:
    assert _plan(secrets=()).grant is None


def test_given_identity_is_kept() -> None:
    plan = _plan(identity="//gvc/dev/identity/mine")
    assert plan.grant is None
    assert (
        plan.workload_body(plan.workload_of(0))["spec"]["identityLink"] == "//gvc/dev/identity/mine"
    )


@pytest.mark.parametrize("attempt", [0, 1])
def test_identity_of_a_private_workload_has_its_name(attempt) -> None:
    plan = _plan(attempt=attempt)
    workload = plan.workload_of(attempt)
    assert (plan.grant.name, plan.grant.secrets) == (workload.name, {"keys"})
    assert (
        plan.workload_body(workload)["spec"]["identityLink"]
        == f"/org/acme/gvc/dev/identity/{workload.name}"
    )


def test_shared_workload_is_that_of_its_set_of_secrets() -> None:
    plans = [
        _plan(private=False, secrets=secrets)
        for secrets in (("keys", "conf"), ("conf", "keys"), ("keys",), ())
    ]
    names = [plan.workload_of(0).name for plan in plans]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert plans[0].grant == plans[1].grant != plans[2].grant
    tagged = plans[0].workload_body(plans[0].workload_of(0))
    assert tagged["tags"]["cpln/specHash"] == plans[0].spec_hash
