"""Jobs that use secrets: each gets an identity for exactly these.

What is missing is reported before the start.
"""

import re
import uuid

import anyio
import pytest

from cpln_flows import (
    ConfigurationError,
    CplnCredentials,
    CplnJob,
    CplnJobRun,
    ManifestError,
    apply_manifests,
    run_namespaced_job,
)
from cpln_flows.api import companions, secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.orchestration import JobIdentity
from tests.manifests import FOREVER, changed, kubernetes_job, texts
from tests.scenarios.hands import GVC

pytestmark = pytest.mark.usefixtures("prefect_api")

MAIN = "spec.template.spec.containers[0]"
PRINT = (
    "import os; print(os.environ.get('DB_USER'), os.environ.get('DB_PW'),"
    " os.environ.get('MODE'), sep=':')"
)
SOURCES = (
    f"{MAIN}.envFrom",
    [{"prefix": "DB_", "secretRef": {"name": "keys"}}, {"configMapRef": {"name": "conf"}}],
)


def _asked(local, call):
    async def ask():
        async with CplnClient(local.settings.api()) as client:
            return await call(client)

    return anyio.run(ask)


@pytest.fixture
def stored(local) -> None:
    """Two secrets of the organization, a dictionary each."""

    async def put(client):
        await secrets.put_dictionary(
            client, "local", "keys", {"USER": "ada", "PW": "hush"}, description="for tests"
        )
        await secrets.put_dictionary(
            client, "local", "conf", {"MODE": "fast"}, description="for tests"
        )

    _asked(local, put)


def _companions(local) -> list[str]:
    async def names(client):
        found = (
            *await companions.identities(client, "local"),
            *await companions.policies(client, "local"),
        )
        return sorted(one.name for one in found)

    return _asked(local, names)


def test_job_gets_all_keys_of_its_secrets(local, stored) -> None:
    job = CplnJob(v1_job=changed(kubernetes_job(PRINT), SOURCES))
    assert texts(run_namespaced_job(job)) == ["ada:hush:fast"]
    assert _companions(local) == []


def test_job_gets_single_keys_of_secrets(local, stored) -> None:
    variables = [
        {"name": "DB_USER", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "USER"}}}
    ]
    job = CplnJob(v1_job=changed(kubernetes_job(PRINT), (f"{MAIN}.env", variables)))
    assert texts(run_namespaced_job(job)) == ["ada:None:None"]


def test_jobs_of_a_shared_workload_share_an_identity(local, stored) -> None:
    job = CplnJob(v1_job=changed(kubernetes_job(PRINT), SOURCES), delete_after_completion=False)
    assert [texts(run_namespaced_job(job)) for _ in range(2)] == [["ada:hush:fast"]] * 2
    identity, policy = _companions(local)
    assert identity == policy
    assert re.fullmatch(r"job-secrets-[0-9a-f]{12}", identity)


def test_given_identity_is_used_as_it_is(local, stored) -> None:
    name = f"mine-{uuid.uuid4().hex[:8]}"

    async def put(client):
        link = await secrets.put_identity(client, GVC, name, description="of a user")
        await secrets.put_reveal_policy(
            client, "local", name, secrets=["keys", "conf"], principal=link, description="of a user"
        )

    _asked(local, put)
    job = CplnJob(
        v1_job=changed(
            kubernetes_job(PRINT), SOURCES, ("spec.template.spec.serviceAccountName", name)
        )
    )
    assert texts(run_namespaced_job(job)) == ["ada:hush:fast"]
    assert _companions(local) == [name, name]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((f"{MAIN}.envFrom", [{"secretRef": {"name": "absent"}}]), id="all-keys"),
        pytest.param(
            (f"{MAIN}.env", [{"name": "A", "value": "cpln://secret/absent.KEY"}]), id="one-key"
        ),
    ],
)
def test_secret_that_does_not_exist_is_said_before_the_start(change, local) -> None:
    with pytest.raises(ManifestError, match="there is no secret 'absent'"):
        run_namespaced_job(CplnJob(v1_job=changed(kubernetes_job(PRINT), change)))
    assert local.platform.workloads() == []


def test_given_identity_that_may_not_reveal_is_said_with_the_policy(local, stored) -> None:
    name = f"mine-{uuid.uuid4().hex[:8]}"
    _asked(local, lambda client: secrets.put_identity(client, GVC, name, description="of a user"))
    job = CplnJob(
        v1_job=changed(
            kubernetes_job(PRINT), SOURCES, ("spec.template.spec.serviceAccountName", name)
        )
    )
    with pytest.raises(
        ConfigurationError, match=f"conf, keys, which its identity .*/{name} may not reveal"
    ) as caught:
        run_namespaced_job(job)
    assert local.platform.workloads() == []
    apply_manifests(CplnCredentials(), "{" + str(caught.value).split(": {", 1)[1])
    assert texts(run_namespaced_job(job)) == ["ada:hush:fast"]


def test_given_identity_that_does_not_exist_is_said(local, stored) -> None:
    job = CplnJob(
        v1_job=changed(
            kubernetes_job(PRINT), SOURCES, ("spec.template.spec.serviceAccountName", "nobody")
        )
    )
    with pytest.raises(
        ConfigurationError, match="there is no identity /org/local/gvc/quickstart/identity/nobody"
    ):
        run_namespaced_job(job)


def test_running_job_is_found_although_its_secret_is_gone(local, stored) -> None:
    job, identity = (
        CplnJob(v1_job=changed(kubernetes_job(FOREVER), SOURCES)),
        JobIdentity.anonymous(),
    )

    async def both() -> tuple[str | None, str | None]:
        first, second = CplnJobRun(job, identity), CplnJobRun(job, identity)
        await first.start()
        async with CplnClient(local.settings.api()) as client:
            await client.delete("/org/local/secret/keys")
        await second.start()
        await second.abandon("the test is over")
        return first.infrastructure_pid, second.infrastructure_pid

    first, second = anyio.run(both)
    assert first == second
    assert first is not None
