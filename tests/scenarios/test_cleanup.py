"""The clean-up, on the local platform and a real Prefect server.

What nobody uses is deleted, together with what belongs to it.
"""

from datetime import UTC, datetime, timedelta

import pytest
import yaml

from cpln_flows import LimitExceededError, cleanup_orphaned_workloads
from cpln_flows.api import secrets
from cpln_flows.cleanup import decide as orphans
from cpln_flows.cleanup.delete import Deleter
from cpln_flows.cleanup.observe import Observer
from cpln_flows.emulator import (
    Exit,
    Fault,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.model.policy import Limits
from cpln_flows.reconcile.masking import HIDDEN
from tests.scenarios.hands import GVC, Hands

pytestmark = [
    pytest.mark.usefixtures("prefect_api"),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.anyio,
]

HOUR = 3600
FOREVER = "for ever"


def aged() -> Platform:
    """Return a platform that is 100 hours behind; tests bring it forward.

    A job with ``FOREVER`` in a tag never ends.
    """

    def script(run):
        return Script(steps=()) if FOREVER in run.tags.values() else Script((Exit(1),))

    start = datetime.now(UTC) - timedelta(hours=100)
    config = PlatformConfig(delete_delay_seconds=0, page_size=3)
    return Platform(config, clock=ManualClock(start), executor=ScriptedExecutor(script))


pytestmark.append(pytest.mark.parametrize("local", [aged], indirect=True))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def hands(local):
    async with Hands(local) as opened:
        yield opened


def names(hands: Hands) -> list[str]:
    return sorted(workload["name"] for workload in hands.local.platform.workloads())


async def job(hands: Hands, name: str, tag: str = "") -> None:
    await hands.start(GVC.workload(name), {"x": tag})


async def world(hands: Hands) -> None:
    """Workloads of every kind, 100 hours before now and later."""
    clock = hands.local.platform.clock
    await hands.workload(name="never-ran")
    await hands.workload(name="ran-long-ago")
    await hands.workload(name="runs-for-days")
    await hands.workload(name="ran-lately")
    await hands.workload(name="was-used-for-days-then-idle")
    await hands.workload(name="not-ours", **{"cpln/createdByPrefect": "false"})
    await hands.workload(name="has-a-schedule")
    spec = {"job": {"schedule": "0 3 * * *"}, "defaultOptions": {"suspend": False}}
    await hands.client.patch(GVC.workload("has-a-schedule").path, {"spec": spec})
    await job(hands, "runs-for-days", FOREVER)
    await job(hands, "ran-long-ago")
    clock.advance(60 * HOUR)
    await job(hands, "was-used-for-days-then-idle")
    for _ in range(4):  # the job that runs is no longer on the first page
        await job(hands, "runs-for-days")
    clock.advance(20 * HOUR)
    await hands.workload(name="young")
    await job(hands, "ran-lately")
    clock.advance(20 * HOUR)


KEPT = ["has-a-schedule", "not-ours", "ran-lately", "runs-for-days", "young"]
ORPHANS = ["never-ran", "ran-long-ago", "was-used-for-days-then-idle"]


async def test_only_what_is_idle_for_a_day_goes_and_can_be_made_again(hands, caplog) -> None:
    await world(hands)
    result = await cleanup_orphaned_workloads()
    assert names(hands) == KEPT
    assert result == {"deleted": 3, "kept": 4, "failed": 0, "unread": 0}
    line = next(
        line
        for line in caplog.messages
        if "Deleted /org/local/gvc/quickstart/workload/never-ran" in line
    )
    assert line.startswith("[CPLN] Cleanup | GVC: quickstart, Workload: never-ran > ")
    assert "no job has run" in line
    text = (await hands.artifact("cpln-cleanup-manifests"))["data"]
    manifests = list(yaml.safe_load_all(text.split("```yaml\n")[1].split("```")[0]))
    for manifest in manifests:
        await hands.client.put(f"/org/local/gvc/{manifest.pop('gvc')}/workload", manifest)
    assert names(hands) == sorted(KEPT + ORPHANS)
    assert "never-ran" in (await hands.artifact("cpln-cleanup"))["data"]
    assert (await cleanup_orphaned_workloads())["deleted"] == 0


async def test_a_dry_run_deletes_nothing_and_shows_all(hands) -> None:
    await world(hands)
    result = await cleanup_orphaned_workloads(dry_run=True)
    assert names(hands) == sorted(KEPT + ORPHANS)
    assert result["deleted"] == 0
    assert sorted(row["object"].rpartition("/")[2] for row in result.planned) == ORPHANS
    assert "3 to delete, 4 workloads kept" in str(result)
    assert "planned" in (await hands.artifact("cpln-cleanup"))["data"]


async def test_more_than_the_limit_is_not_deleted(hands) -> None:
    await world(hands)
    with pytest.raises(LimitExceededError, match="3 changes are more than the limit of 2"):
        await cleanup_orphaned_workloads(max_deletions=2)
    assert names(hands) == sorted(KEPT + ORPHANS)


async def test_one_failure_does_not_stop_the_rest_and_a_404_is_success(hands) -> None:
    await world(hands)
    faults = hands.local.platform.faults
    faults.add(Fault(method="DELETE", path=".*/never-ran", status=403, times=None))
    faults.add(
        Fault(method="DELETE", path=".*/ran-long-ago", status=404, times=None, effect="after")
    )
    result = await cleanup_orphaned_workloads()
    assert names(hands) == sorted([*KEPT, "never-ran"])
    assert (result["deleted"], result["failed"]) == (2, 1)


async def test_what_cannot_be_read_stays(hands, monkeypatch) -> None:
    await world(hands)
    monkeypatch.setenv("CPLN_RETRY_SECONDS", "0.1")
    hands.local.platform.faults.add(
        Fault(path=".*/never-ran/-command/-query", status=503, times=None)
    )
    result = await cleanup_orphaned_workloads()
    assert names(hands) == sorted([*KEPT, "never-ran"])
    assert result["unread"] == 1


async def test_a_job_that_is_started_between_look_and_deletion_saves_its_workload(hands) -> None:
    await world(hands)
    observer = Observer(hands.client, "local", None, orphans.IDLE, lambda: datetime.now(UTC))
    sweep = orphans.sweep(await observer.inventory(), Limits())
    await job(hands, "never-ran", FOREVER)
    deleted = await Deleter(observer).delete(sweep)
    assert names(hands) == sorted([*KEPT, "never-ran"])
    active = hands.local.platform.commands("never-ran")[0]
    assert [deletion.said for deletion in deleted if not deletion.done] == [
        f"changed meanwhile: command {active['id']} is active"
    ]


async def test_identity_and_policy_go_with_their_workload_and_leftovers_go_too(hands) -> None:
    clock, client = hands.local.platform.clock, hands.client
    ours = {"cpln/createdByPrefect": "true"}
    identities = {
        name: f"{GVC.path}/identity/{name}"
        for name in ("of-orphan", "shared", "left-over", "users")
    }
    for name, link in identities.items():
        await client.put(
            f"{GVC.path}/identity",
            {"kind": "identity", "name": name, "tags": {} if name == "users" else ours},
        )
        binding = {"permissions": ["reveal"], "principalLinks": [link]}
        policy = {
            "kind": "policy",
            "name": f"p-{name}",
            "targetKind": "secret",
            "target": "all",
            "bindings": [binding],
        }
        await client.put("/org/local/policy", {**policy, "tags": {} if name == "users" else ours})
    for name, identity in {"orphan": "of-orphan", "orphan-2": "shared", "busy": "shared"}.items():
        await hands.workload(name=name)
        await client.patch(
            GVC.workload(name).path, {"spec": {"identityLink": identities[identity]}}
        )
    await job(hands, "busy", FOREVER)
    clock.advance(100 * HOUR)
    await client.put(f"{GVC.path}/identity", {"kind": "identity", "name": "young", "tags": ours})
    result = await cleanup_orphaned_workloads()
    assert result["failed"] == 0
    assert names(hands) == ["busy"]
    left = [one["name"] for one in hands.local.platform.objects("identity")]
    assert sorted(left) == ["shared", "users", "young"]
    policies = [
        one["name"]
        for one in hands.local.platform.objects("policy")
        if one["name"].startswith("p-")
    ]
    assert sorted(policies) == ["p-shared", "p-users"]


async def made_by_us(hands: Hands, name: str) -> str:
    """What a job needs to read a secret, as the library makes it."""
    link = await secrets.put_identity(hands.client, GVC, name, description="for a job")
    await secrets.put_reveal_policy(
        hands.client, "local", f"p-{name}", secrets=["s"], principal=link, description="for a job"
    )
    return link


async def used_by(hands: Hands, workload: str, identity: str) -> None:
    await hands.workload(name=workload)
    await hands.client.patch(GVC.workload(workload).path, {"spec": {"identityLink": identity}})


def left(hands: Hands) -> list[str]:
    ours = [*hands.local.platform.objects("identity"), *hands.local.platform.objects("policy")]
    return sorted(one["name"] for one in ours if one["name"].endswith(("-ours", "-used")))


def observing(hands: Hands) -> Observer:
    return Observer(hands.client, "local", None, orphans.IDLE, lambda: datetime.now(UTC))


async def test_what_the_library_makes_for_a_secret_is_found_unless_it_was_put_lately(hands) -> None:
    for name in ("of-ours", "left-ours", "lately-used"):
        link = await made_by_us(hands, name)
        if name == "of-ours":
            await used_by(hands, "orphan", link)
    hands.local.platform.clock.advance(90 * HOUR)
    await made_by_us(hands, "lately-used")
    hands.local.platform.clock.advance(10 * HOUR)
    assert (await cleanup_orphaned_workloads())["deleted"] == 5
    assert left(hands) == ["lately-used", "p-lately-used"]


async def test_an_identity_that_another_workload_takes_meanwhile_stays_with_its_policy(
    hands,
) -> None:
    await used_by(hands, "old", await made_by_us(hands, "of-used"))
    await made_by_us(hands, "left-used")
    await made_by_us(hands, "gone-ours")
    hands.local.platform.clock.advance(100 * HOUR)
    observer = observing(hands)
    sweep = orphans.sweep(await observer.inventory(), Limits())
    for number, name in enumerate(("of-used", "left-used")):
        await used_by(hands, f"young-{number}", f"{GVC.path}/identity/{name}")
    seen = len(hands.local.platform.requests)
    deleted = await Deleter(observer).delete(sweep)
    assert left(hands) == ["left-used", "of-used", "p-left-used", "p-of-used"]
    assert {one.said for one in deleted if not one.done} == {
        f"changed meanwhile: {GVC.path}/workload/young-{number} uses {what}"
        for number in range(2)
        for what in ("it", "its identity")
    }
    lists = [
        one
        for one in hands.local.platform.requests[seen:]
        if one.path.startswith("/org/local/workload")
    ]
    assert len(lists) == 1, "one look for all"


async def test_companions_stay_when_their_users_cannot_be_read(hands, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_RETRY_SECONDS", "0.1")
    await made_by_us(hands, "left-ours")
    hands.local.platform.clock.advance(100 * HOUR)
    observer = observing(hands)
    sweep = orphans.sweep(await observer.inventory(), Limits())
    hands.local.platform.faults.add(
        Fault(method="GET", path="/org/local/workload", status=503, times=None)
    )
    assert [one.done for one in await Deleter(observer).delete(sweep)] == [False, False]


KEYS = "prefect-api-0123456789ab-"


async def key(
    hands: Hands, number: int, workload: str | None = None, identity: str | None = None
) -> str:
    """Store a Prefect API key's secret, as a worker does, and return its name.

    A job gets what it needs to read the secret, and a workload that uses it if one is named.
    """
    name = f"{KEYS}{number:08x}"
    await secrets.put_dictionary(
        hands.client, "local", name, {"PREFECT_API_KEY": "canary"}, description="for a job"
    )
    link = identity or await secrets.put_identity(hands.client, GVC, name, description="for a job")
    await secrets.put_reveal_policy(
        hands.client, "local", f"{name}-p", secrets=[name], principal=link, description="for a job"
    )
    if workload:
        await used_by(hands, workload, link)
    return name


def keys(hands: Hands) -> list[int]:
    """Return the numbers of the remaining secrets; a deletion takes a moment of platform time."""
    hands.local.platform.clock.advance(1)
    return sorted(
        int(one["name"][-8:], 16)
        for one in hands.local.platform.objects("secret")
        if one["name"].startswith(KEYS)
    )


async def identity_of_users(hands: Hands) -> str:
    await hands.client.put(f"{GVC.path}/identity", {"kind": "identity", "name": "users"})
    return f"{GVC.path}/identity/users"


async def test_secret_of_a_key_goes_when_nobody_can_read_it(hands) -> None:
    users = await identity_of_users(hands)
    await key(hands, 1, "idle")
    await key(hands, 2, "busy")
    await key(hands, 3)
    await key(hands, 4, "busy-as-users", users)
    await key(hands, 5, identity=users)  # another key of the same identity
    await key(hands, 6)
    referring = [
        {
            "name": "main",
            "image": "python",
            "env": [{"name": "A", "value": f"cpln://secret/{KEYS}{6:08x}.PREFECT_API_KEY"}],
        }
    ]
    await hands.workload(name="refers", **{"cpln/createdByPrefect": "false"})
    await hands.client.patch(
        GVC.workload("refers").path, {"spec": {"$replace/containers": referring}}
    )
    for name in ("busy", "busy-as-users"):
        await job(hands, name, FOREVER)
    hands.local.platform.clock.advance(90 * HOUR)
    await key(hands, 7)
    hands.local.platform.clock.advance(10 * HOUR)
    result = await cleanup_orphaned_workloads()
    assert result["failed"] == result["unread"] == 0
    assert keys(hands) == [2, 4, 5, 6, 7], "5 may still be read by the identity that is in use"
    manifests = (await hands.artifact("cpln-cleanup-manifests"))["data"]
    assert f"kind: secret\nname: {KEYS}{1:08x}" in manifests
    assert "canary" not in manifests


async def test_secrets_of_others_are_left_alone(hands) -> None:
    ours = {"cpln/createdByPrefect": "true"}
    for name, tags in {
        f"{KEYS}0000000f": {},
        "prefect-api": ours,
        "users-secret": ours,
        f"{KEYS}0000000fx": ours,
    }.items():
        body = {
            "kind": "secret",
            "name": name,
            "type": "dictionary",
            "data": {"A": "canary"},
            "tags": tags,
        }
        await hands.client.put("/org/local/secret", body)
    hands.local.platform.clock.advance(100 * HOUR)
    await cleanup_orphaned_workloads()
    assert len(hands.local.platform.objects("secret")) == 4


async def test_secret_that_is_used_meanwhile_stays(hands) -> None:
    for number in (1, 2, 3, 4):
        await key(hands, number)
    hands.local.platform.clock.advance(100 * HOUR)
    observer = observing(hands)
    sweep = orphans.sweep(await observer.inventory(), Limits(share=1))
    await key(hands, 1)
    await used_by(hands, "young", f"{GVC.path}/identity/{KEYS}{2:08x}")
    hands.local.platform.faults.add(
        Fault(method="DELETE", path=f".*/secret/{KEYS}{3:08x}", status=403, times=None)
    )
    deleted = await Deleter(observer).delete(sweep)
    assert keys(hands) == [1, 2, 3]
    kept = {
        one.deletion.link: one.said
        for one in deleted
        if not one.done and "/secret/" in one.deletion.link
    }
    assert kept[f"/org/local/secret/{KEYS}{1:08x}"] == "changed meanwhile: it was applied again"
    assert (
        kept[f"/org/local/secret/{KEYS}{2:08x}"]
        == f"changed meanwhile: {GVC.workload('young').path} uses it"
    )


async def test_secrets_that_cannot_be_read_stay(hands, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_RETRY_SECONDS", "0.1")
    await key(hands, 1, "idle")
    hands.local.platform.clock.advance(100 * HOUR)
    observer = observing(hands)
    sweep = orphans.sweep(await observer.inventory(), Limits())
    hands.local.platform.faults.add(Fault(path="/org/local/secret/-query", status=403, times=None))
    said = [one.said for one in await Deleter(observer).delete(sweep) if not one.done]
    assert len(said) == 1
    assert "unknown is not unused: secrets of local: " in said[0]
    result = await cleanup_orphaned_workloads()
    assert (keys(hands), names(hands), result["unread"]) == ([1], [], 1)


async def test_the_manifest_of_a_deleted_workload_is_kept_when_its_policy_cannot_be_deleted(
    hands,
) -> None:
    await used_by(hands, "orphan", await made_by_us(hands, "of-ours"))
    hands.local.platform.clock.advance(100 * HOUR)
    hands.local.platform.faults.add(
        Fault(method="DELETE", path=".*/policy/p-of-ours", status=403, times=None)
    )
    result = await cleanup_orphaned_workloads()
    assert (result["deleted"], result["failed"]) == (2, 1)
    text = (await hands.artifact("cpln-cleanup-manifests"))["data"]
    manifests = list(yaml.safe_load_all(text.split("```yaml\n")[1].split("```")[0]))
    assert [(one["kind"], one["name"], one.get("gvc")) for one in manifests] == [
        ("workload", "orphan", "quickstart"),
        ("policy", "p-of-ours", None),
        ("identity", "of-ours", "quickstart"),
    ]


async def test_nothing_is_deleted_whose_manifest_cannot_be_kept(hands, monkeypatch) -> None:
    await hands.workload(name="orphan")
    hands.local.platform.clock.advance(100 * HOUR)

    async def fails(*_, **__) -> None:
        raise OSError("Prefect restarts")

    monkeypatch.setattr("cpln_flows.cleanup.report.acreate_markdown_artifact", fails)
    with pytest.raises(OSError, match="restarts"):
        await cleanup_orphaned_workloads()
    assert names(hands) == ["orphan"]


@pytest.mark.parametrize(
    ("name", "value", "is_shown"),
    [
        ("PORT", "8080", True),
        ("DATABASE_PASSWORD", "cpln://secret/database.password", True),
        ("PLAIN", "canary", False),
        ("DATABASE", "postgresql://etl:canary@db.example/etl", False),
    ],
)
async def test_the_artifact_shows_variables_but_no_secret(hands, name, value, is_shown) -> None:
    await hands.workload(name="keyed", team="canary")
    command = {"command": "mysql", "args": ["-pcanary", "curl -u me:canary https://x?sig=canary"]}
    container = {
        "name": "main",
        "image": "python",
        "env": [{"name": name, "value": value}],
        **command,
    }
    await hands.client.patch(
        GVC.workload("keyed").path,
        {"spec": {"$replace/containers": [container]}, "description": "canary"},
    )
    hands.local.platform.clock.advance(100 * HOUR)
    await cleanup_orphaned_workloads()
    data = (await hands.artifact("cpln-cleanup-manifests"))["data"]
    assert name in data
    assert (value in data) is is_shown
    assert f"once each `{HIDDEN}` is replaced" in data
    assert "canary" not in data
