"""What each feature of the table of permissions does, played with a key of its service account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from logging import getLogger
from typing import Any

import httpx
import pytest
from prefect.logging import disable_run_logger
from prefect.states import Cancelled, Pending, Running

from cpln_flows import (
    JobTimeoutError,
    SyncOptions,
    apply_manifests,
    delete_manifests,
    stream_logs,
    sync,
)
from cpln_flows.api import companions, secrets, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.cleanup import decide
from cpln_flows.cleanup.delete import Deleter
from cpln_flows.cleanup.observe import Observer
from cpln_flows.emulator import Exit, Line, Script
from cpln_flows.jobs import access
from cpln_flows.model.links import CommandRef
from cpln_flows.model.policy import Limits
from cpln_flows.provision import grants, permissions
from cpln_flows.provision.permissions import Feature
from cpln_flows.reconcile.cycles import validate
from tests.manifests import changed, kubernetes_job, native_job, texts
from tests.scenarios import programs, scripted
from tests.scenarios.hands import GVC, Hands
from tests.scenarios.permissions import Installation

LINES = ["one"]
ENDLESS = "endless"
_MAIN = "spec.template.spec.containers[0]"
_SHARED = {"fileSystemType": "shared", "performanceClass": "shared", "initialCapacity": 10}
_DAY = timedelta(hours=24)
_ACCESS = "prefect-api-0123456789ab-01234567"
USED_ELSEWHERE = "prefect-api-0123456789ab-89abcdef"


def script(run: Any) -> Script:
    """What a job does: one with `endless` in its workload's name never ends."""
    if ENDLESS in run.workload:
        return Script([Line(0, "one")])
    return Script([Line(0, "one"), Exit(0.05)])


@dataclass
class Player:
    """Whoever plays: the installation, and a key that it has."""

    there: Installation
    key: str

    def run_of(self, *changes: tuple[str, Any], **fields: Any) -> Any:
        """A run of a job with this key."""
        job = changed(kubernetes_job("pass", name=fields.pop("name", "report")), *changes)
        return scripted.run_of(self.there.with_token(self.key), v1_job=job, **fields)

    def client(self, token: str | None = None) -> CplnClient:
        return CplnClient(self.there.with_token(token or self.key).settings.api())

    def as_superuser(self) -> CplnClient:
        return self.client(self.there.local.settings.token.get_secret_value())


async def jobs(player: Player) -> None:
    """A job with a volume to its end, with its log; and one that is stopped at its timeout."""
    player.there.put(f"{GVC.path}/volumeset", name="data", spec=_SHARED)
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    mounted = (
        ("spec.template.spec.volumes", [volume]),
        (f"{_MAIN}.volumeMounts", [{"name": "data", "mountPath": "/data"}]),
    )
    assert texts(await scripted.finish(player.run_of(*mounted))) == LINES
    endless = player.run_of(name=ENDLESS, timeout_seconds=0.2, settings={"stop_grace_seconds": 1.0})
    with pytest.raises(JobTimeoutError) as caught:
        await scripted.finish(endless)
    assert "MAY STILL RUN" not in str(caught.value)
    assert player.there.local.platform.workloads() == []


async def logs(player: Player) -> None:
    """The log of a job that somebody else ran."""
    run = scripted.run_of(player.there.local, delete_after_completion=False)
    await scripted.finish(run)
    lines: list[str] = []
    credentials = player.there.credentials(player.key)
    with disable_run_logger():
        receipt = await stream_logs.fn(
            run.infrastructure_pid, lines.append, credentials=credentials
        )
    assert (texts("\n".join(lines)), receipt.lines) == (LINES, 1)


async def worker(player: Player) -> None:
    """The check at a worker's start, and a worker that runs inside the platform."""
    async with player.client() as client:
        await access.validate(client, GVC, None)
    name = player.there.names.key_secret
    if name not in [secret["name"] for secret in player.there.local.platform.objects("secret")]:
        data = {"payload": player.key}
        player.there.put("/org/local/secret", name=name, type="opaque", data=data)
    variable = {
        "name": "PREFECT_INTEGRATIONS_CPLN_TOKEN",
        "value": f"cpln://secret/{name}.payload",
    }
    identity = f"//gvc/quickstart/identity/{player.there.names.worker}"
    body = native_job(identityLink=identity, job={"schedule": "* * * * *"})
    body["spec"]["containers"][0]["env"] = [variable]
    async with player.as_superuser() as root:
        await workloads.create(root, GVC, body)
        (here,) = await workloads.deployments(root, GVC.workload(body["name"]))
    assert here.status.ready, here.report()


async def jobs_with_secrets(player: Player) -> None:
    """A secret of a worker, and identities: of one job, of a shared workload, of a user."""
    there = player.there
    async with player.client() as client:
        for value in ("1", "2"):
            await secrets.put_dictionary(
                client, "local", _ACCESS, {"PREFECT_API_KEY": value}, description="of a worker"
            )
    for name in ("keys", "others"):
        there.put("/org/local/secret", name=name, type="dictionary", data={"A": "1"})
    both = (
        (f"{_MAIN}.envFrom", [{"secretRef": {"name": "keys"}}]),
        (f"{_MAIN}.env", [{"name": "B", "value": "cpln://secret/others.A"}]),
    )
    assert texts(await scripted.finish(player.run_of(*both))) == LINES
    async with player.as_superuser() as root:
        assert await companions.identities(root, "local") == []
        assert await companions.policies(root, "local") == []
    for _ in range(2):
        shared = player.run_of(*both, delete_after_completion=False)
        assert texts(await scripted.finish(shared)) == LINES
    there.put("/org/local/gvc/quickstart/identity", name="mine")
    there.put(
        "/org/local/policy",
        name="mine-reveals",
        targetKind="secret",
        targetLinks=["//secret/keys", "//secret/others"],
        bindings=[
            {"permissions": ["reveal"], "principalLinks": ["//gvc/quickstart/identity/mine"]}
        ],
    )
    own = player.run_of(*both, ("spec.template.spec.serviceAccountName", "mine"))
    assert texts(await scripted.finish(own)) == LINES


async def keeping_in_agreement(player: Player) -> None:
    """A cycle of sync: a flow run whose job has ended is marked, the job of another is stopped."""
    async with Hands(player.there.local) as hands:
        ended, cancelled = [await hands.run(Pending(), Running()) for _ in range(2)]
        over = await hands.container(ended, await hands.workload())
        ref = await hands.container(cancelled, await hands.workload(name=ENDLESS))
        await _until(hands, over, "completed")
        await _until(hands, ref, "running")
        await hands.become(cancelled, Cancelled())
        result = await sync(
            "local",
            gvc="quickstart",
            credentials=player.there.credentials(player.key),
            options=SyncOptions(
                work_pool=hands.pool,
                completed_grace_seconds=0,
                cancel_grace_seconds=0,
                stop_grace_seconds=0,
                submission_limit_seconds=0,
            ),
        )
        assert (result["changes"], result["unread"]) == (2, 0)
        assert (await hands.state(ended)).type == "COMPLETED"
        await _until(hands, ref, "failed", "cancelled")


async def _until(hands: Hands, ref: CommandRef, *stages: str) -> None:
    """Wait until the newest job of a workload is in one of some stages."""
    commands = hands.local.platform.commands
    await programs.reached(lambda: commands(ref.workload)[0]["lifecycleStage"] in stages)


async def cleaning_up(player: Player) -> None:
    """An idle workload goes with its identity, policy and secret; what is used elsewhere stays."""
    there, used = player.there, USED_ELSEWHERE
    async with player.as_superuser() as root:
        link = await secrets.put_identity(root, GVC, "orphan", description="of a job")
        for name in (_ACCESS, used):
            await secrets.put_dictionary(root, "local", name, {"A": "1"}, description="of a worker")
        await secrets.put_reveal_policy(
            root, "local", "orphan", secrets=[_ACCESS], principal=link, description="of a job"
        )
    tags = {"cpln/createdByPrefect": "true"}
    cron = {"job": {"schedule": "* * * * *"}, "defaultOptions": {"suspend": True}}
    orphan = native_job(identityLink=link, **cron) | {"name": "orphan", "tags": tags}
    there.put(f"{GVC.path}/workload", **orphan)
    other = native_job(**cron) | {"name": "other"}
    other["spec"]["containers"][0]["env"] = [{"name": "A", "value": f"cpln://secret/{used}.A"}]
    there.put("/org/local/gvc/elsewhere/workload", **other)
    clock = there.local.platform.clock
    clock.advance(100 * 3600)
    async with player.client() as client:
        await validate(client, "local", "quickstart", getLogger())
        observer = Observer(client, "local", "quickstart", _DAY, client.now)
        sweep = decide.sweep(await observer.inventory(), Limits())
        deleted = await Deleter(observer).delete(sweep)
    assert [one.said for one in deleted if not one.done] == []
    assert sorted(one.deletion.link.removeprefix("/org/local/") for one in deleted) == [
        "gvc/quickstart/identity/orphan",
        "gvc/quickstart/workload/orphan",
        "policy/orphan",
        f"secret/{_ACCESS}",
    ]


async def manifests(player: Player) -> None:
    """Objects of the GVC are made, changed and deleted."""
    wanted = [
        {"kind": "identity", "name": "runner"},
        {"kind": "volumeset", "name": "data", "spec": _SHARED},
        native_job(job={"schedule": "* * * * *"}) | {"name": "nightly"},
    ]
    credentials = player.there.credentials(player.key)
    with disable_run_logger():
        for description in ("first", "second"):
            documents = [document | {"description": description} for document in wanted]
            await apply_manifests.fn(credentials, documents, org="local", gvc="quickstart")
        rows = await delete_manifests.fn(credentials, wanted, org="local", gvc="quickstart")
    assert {row["action"] for row in rows} == {"deleted"}


async def provisioning(player: Player) -> None:
    """What `cpln-flows policy` prints is applied twice, and the worker gets its key."""
    names = player.there.names
    credentials = player.there.credentials(player.key)
    needs = permissions.of(*permissions.STANDARD)
    with disable_run_logger():
        for suffix in ("", " again"):
            documents = [
                document | {"description": document["description"] + suffix}
                for document in grants.documents(needs, names)
            ]
            await apply_manifests.fn(credentials, documents, org="local")
    headers = {"authorization": player.key}
    async with httpx.AsyncClient(base_url=player.there.local.url, headers=headers) as client:
        path = f"/org/local/serviceaccount/{names.worker}/-addKey"
        key = (await client.post(path, json={})).raise_for_status().json()["key"]
        secret = {"name": names.key_secret, "type": "opaque", "data": {"payload": key}}
        (await client.post("/org/local/secret", json=secret)).raise_for_status()


@dataclass(frozen=True)
class Play:
    """How a feature is played.

    Attributes:
        act: What is done.
        beside: Features that are allowed as well, because the play needs them.
        account: Whose key is used; default the worker's.
        hours_behind: How far the platform's clock is behind.
    """

    act: Callable[[Player], Awaitable[None]]
    beside: tuple[Feature, ...] = ()
    account: str = grants.WORKER
    hours_behind: float = 0


PLAYS: dict[Feature, Play] = {
    Feature.JOBS: Play(jobs, beside=(Feature.LOGS,)),
    Feature.LOGS: Play(logs),
    Feature.WORKER: Play(worker),
    Feature.SECRETS: Play(jobs_with_secrets, beside=(Feature.LOGS,)),
    Feature.SYNC: Play(keeping_in_agreement),
    Feature.CLEANUP: Play(cleaning_up, hours_behind=200),
    Feature.MANIFESTS: Play(manifests),
    Feature.PROVISION: Play(provisioning, account=grants.PROVISIONER),
}
