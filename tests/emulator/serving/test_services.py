"""Workloads that serve, by scripted containers on a clock that is moved by hand."""

import pytest

from cpln_flows.emulator import Exit, ImagePullFailure, Script
from tests.emulator.support import GVC, W1, WORKLOADS, local, stop_body, workload

pytestmark = pytest.mark.anyio

REPLICAS = f"/location/local-1/replicas{W1}"
STEADY = Script(steps=())


def serving(kind="standard", count=2, **container):
    """A workload of a kind, with a number of replicas and fields of its container."""
    document = workload(type=kind, defaultOptions={"autoscaling": scale(count)})
    del document["spec"]["job"]
    document["spec"]["containers"][0] |= container
    return document


def scale(count):
    return {"metric": "disabled", "minScale": count, "maxScale": max(count, 1)}


async def names(platform, link=REPLICAS):
    return (await platform.get(link))["items"]


async def patch(platform, link=W1, **fields):
    answer = await platform.client.patch(link, json=fields)
    assert answer.status_code == 200, answer.text
    await platform.settle()


async def settled(platform, **fields):
    await platform.create(serving(**fields))
    await platform.settle()
    await platform.settle()


@pytest.mark.parametrize("kind", ["standard", "stateful", "serverless"])
async def test_as_many_replicas_run_as_asked(kind) -> None:
    async with local(STEADY) as platform:
        await settled(platform, kind=kind, count=3)
        document = await platform.get(W1)
        found = await platform.deployment()
        assert len(await names(platform)) == 3
        assert (found["ready"], found["desiredScale"], found["message"]) == (True, 3, "")
        assert document["status"]["currentReplicaCount"] == 3
        assert document["health"]["readyReplicas"] == document["health"]["totalReplicas"] == 3
        (version,) = found["versions"]
        assert version["containers"]["main"]["resources"]["replicasReady"] == 3


async def test_stateful_replicas_have_a_stable_index() -> None:
    async with local(STEADY) as platform:
        await settled(platform, kind="stateful", count=2)
        assert await names(platform) == ["w-1-0", "w-1-1"]
        status = (await platform.get(W1))["status"]
        assert status["replicaInternalNames"] == [
            "replica-0.w-1.quickstart.cpln.local",
            "replica-1.w-1.quickstart.cpln.local",
        ]


async def test_stateful_replicas_start_one_after_another() -> None:
    probe = {"exec": {"command": ["true"]}, "initialDelaySeconds": 0, "periodSeconds": 1}
    async with local(Script(steps=(), ready_after_seconds=5)) as platform:
        await settled(platform, kind="stateful", count=2, readinessProbe=probe)
        assert await names(platform) == ["w-1-0"]
        for _ in range(5):
            await platform.advance(1)
        assert await names(platform) == ["w-1-0", "w-1-1"]
        assert not (await platform.deployment())["ready"]
        for _ in range(6):
            await platform.advance(1)
        assert (await platform.deployment())["ready"]


async def test_scale_changes_without_replacing_replicas() -> None:
    async with local(STEADY) as platform:
        await settled(platform, count=2)
        before = await names(platform)
        await patch(platform, spec={"defaultOptions": {"autoscaling": scale(3)}})
        grown = await names(platform)
        assert set(before) < set(grown)
        assert len(grown) == 3
        await patch(platform, spec={"defaultOptions": {"autoscaling": scale(1)}})
        assert set(await names(platform)) < set(grown)
        assert (await platform.deployment())["desiredScale"] == 1


@pytest.mark.parametrize("kind", ["standard", "stateful"])
async def test_new_version_and_deploy_tag_replace_replicas(kind) -> None:
    image = {"$replace/containers": [{"name": "main", "image": "b", "command": "true"}]}
    for change in ({"spec": image}, {"tags": {"cpln/deployTimestamp": "2026"}}):
        async with local(STEADY) as platform:
            await settled(platform, kind=kind, count=3)
            tokens = {each.run.env["CPLN_TOKEN"] for each in platform.platform._parts.replicas}
            await patch(platform, **change)
            for _ in range(6):
                await platform.advance(0.1)
            now = {each.run.env["CPLN_TOKEN"] for each in platform.platform._parts.replicas}
            assert len(now) == 3
            assert not now & tokens
            found = await platform.deployment()
            assert (found["ready"], found["deploying"]) == (True, False)
            assert found["lastProcessedVersion"] == found["expectedDeploymentVersion"] == 2


async def test_description_alone_replaces_no_replica() -> None:
    async with local(STEADY) as platform:
        await settled(platform)
        before = await names(platform)
        await patch(platform, description="another")
        assert await names(platform) == before


async def test_broken_version_leaves_working_replicas() -> None:
    def script(run):
        return STEADY if run.containers[0].image == "good" else Script((Exit(0.0, code=3),))

    async with local(script) as platform:
        probe = {"exec": {"command": ["true"]}, "initialDelaySeconds": 1}
        await settled(platform, count=2, image="good", readinessProbe=probe)
        await platform.advance(1)
        before = set(await names(platform))
        container = {"name": "main", "image": "bad", "command": "true", "readinessProbe": probe}
        await patch(platform, spec={"$replace/containers": [container]})
        await platform.advance(60)
        found = await platform.deployment()
        assert before < set(await names(platform))
        assert (found["ready"], found["deploying"]) == (False, True)
        assert "exit code 3" in found["message"]


async def test_suspended_workload_stops_and_starts_again() -> None:
    async with local(STEADY) as platform:
        await settled(platform)
        await patch(platform, spec={"defaultOptions": {"suspend": True}})
        assert await names(platform) == []
        assert (await platform.get(W1))["status"]["suspendedStatus"] == "suspended"
        await patch(platform, spec={"defaultOptions": {"suspend": False}})
        assert len(await names(platform)) == 2


async def test_deleted_workload_leaves_no_replica() -> None:
    async with local(Script(steps=(), ignores_stop=True)) as platform:
        await settled(platform)
        assert (await platform.client.delete(W1)).status_code == 202
        await platform.advance(5)
        assert len(list(platform.platform._parts.replicas)) == 2
        await platform.advance(6)
        assert list(platform.platform._parts.replicas) == []


async def test_container_is_started_again_with_back_off() -> None:
    starts = []

    def script(run):
        starts.append(run.attempt)
        return Script((Exit(1.0, code=1),))

    async with local(script) as platform:
        await settled(platform, count=1)
        await platform.advance(1)
        assert starts == [0, 1], "the first restart is immediate"
        await platform.advance(10)
        assert starts == [0, 1], "the second waits 10 seconds after the end"
        await platform.advance(1)
        assert starts == [0, 1, 2]
        await platform.advance(20)
        assert starts == [0, 1, 2]
        assert not (await platform.deployment())["ready"]


async def test_stop_replica_is_completed_and_replaced() -> None:
    async with local(STEADY) as platform:
        await settled(platform, count=2)
        first, second = await names(platform)
        answer = await platform.client.post(f"{W1}/-command", json=stop_body(first))
        await platform.settle()
        assert await platform.stage(answer.headers["location"]) == "completed"
        now = await names(platform)
        assert first not in now
        assert second in now
        assert len(now) == 2


async def test_liveness_probe_starts_a_container_again() -> None:
    probe = {"exec": {"command": ["true"]}, "initialDelaySeconds": 0, "failureThreshold": 2}
    async with local(Script(steps=(), unhealthy_after_seconds=15)) as platform:
        await settled(platform, count=1, livenessProbe=probe)
        await platform.advance(20)
        assert [each.restarts for each in platform.platform.running()] == [0]
        await platform.advance(10)
        await platform.advance(0)
        assert [each.restarts for each in platform.platform.running()] == [1]


async def test_waiting_for_an_image_is_not_ready() -> None:
    async with local(Script((ImagePullFailure("no such image"),))) as platform:
        await settled(platform)
        found = await platform.deployment()
        assert not found["ready"]
        assert "ImagePullBackOff: no such image" in found["message"]


async def test_missing_secret_keeps_it_from_being_ready() -> None:
    async with local(STEADY) as platform:
        env = [{"name": "KEY", "value": "cpln://secret/keys.a"}]
        await settled(platform, env=env)
        found = await platform.deployment()
        assert not found["ready"]
        assert found["message"] == "secret 'keys' does not exist"
        assert (await platform.get(W1))["health"]["readiness"] == "notReady"


async def test_missing_volumeset_keeps_it_from_being_ready() -> None:
    async with local(STEADY) as platform:
        volumes = [{"uri": "cpln://volumeset/data-set", "path": "/data"}]
        await settled(platform, kind="stateful", volumes=volumes)
        found = await platform.deployment()
        assert (found["ready"], found["message"]) == (
            False,
            "volumeset 'data-set' does not exist in gvc quickstart",
        )
        body = {
            "name": "data-set",
            "spec": {"fileSystemType": "ext4", "performanceClass": "general-purpose-ssd"},
        }
        await platform.client.post(f"{GVC}/volumeset", json=body)
        await platform.advance(5)
        await platform.settle()
        assert (await platform.deployment())["ready"]


async def test_virtual_machine_is_never_ready() -> None:
    async with local(STEADY) as platform:
        await platform.create(serving("vm"))
        found = await platform.deployment()
        assert (found["ready"], found["message"]) == (
            False,
            "the local platform runs no virtual machines",
        )


async def test_new_location_of_a_gvc_gets_replicas() -> None:
    links = [f"/org/local/location/local-{number}" for number in (1, 2)]
    async with local(STEADY, locations=("local-1", "local-2")) as platform:
        await patch(platform, GVC, spec={"staticPlacement": {"locationLinks": links[:1]}})
        await settled(platform, count=1)
        assert {each.location for each in platform.platform.running()} == {"local-1"}
        await patch(platform, GVC, spec={"staticPlacement": {"locationLinks": links[1:]}})
        await platform.settle()
        assert {each.location for each in platform.platform.running()} == {"local-2"}


async def test_replicas_of_all_locations_are_listed() -> None:
    async with local(STEADY, locations=("local-1", "local-2")) as platform:
        await settled(platform, kind="stateful", count=1)
        assert (await platform.get(f"{W1}/-replica"))["items"] == ["w-1-0", "w-1-0"]
        assert await names(platform) == ["w-1-0"]


async def test_options_of_a_location_beat_the_default_ones() -> None:
    async with local(STEADY, locations=("local-1", "local-2")) as platform:
        document = serving(count=1)
        document["spec"]["localOptions"] = [
            {"location": "/org/local/location/local-2", "autoscaling": scale(3)}
        ]
        await platform.create(document)
        await platform.settle()
        found = [each.location for each in platform.platform.running()]
        assert (found.count("local-1"), found.count("local-2")) == (1, 3)


async def test_locations_need_time_to_process_a_change() -> None:
    async with local(STEADY, ready_delay_seconds=5) as platform:
        await settled(platform, count=1)
        assert await names(platform) == []
        assert not (await platform.deployment())["ready"]
        await platform.advance(5)
        assert len(await names(platform)) == 1
        await patch(platform, spec={"defaultOptions": {"autoscaling": scale(2)}})
        assert len(await names(platform)) == 1
        await platform.advance(5)
        assert len(await names(platform)) == 2


async def test_the_overview_names_state_and_problem() -> None:
    async with local(lambda run: Script((Exit(1.0, code=2),))) as platform:
        await settled(platform, count=1)
        (before,) = platform.platform.running()
        await platform.advance(1.5)
        answer = await platform.get("/_control/replicas")
        (shown,) = answer["replicas"]
        assert (before.state, before.workload, before.gvc) == ("ready", "w-1", "quickstart")
        assert shown["restarts"] == 1
        assert WORKLOADS.endswith("/gvc/quickstart/workload")
