import pytest

from cpln_flows.emulator import Script

from .support import W1, local, workload

pytestmark = pytest.mark.anyio


@pytest.mark.fact("F102")
async def test_one_deployment_for_each_location_of_the_gvc():
    async with local(locations=("local-1", "local-2")) as here:
        await here.create()
        body = await here.get(f"{W1}/deployment")
        assert (body["kind"], body["itemKind"]) == ("list", "deployment")
        assert [item["name"] for item in body["items"]] == ["local-1", "local-2"]
        assert all(item["status"]["internal"] == {} for item in body["items"])
        assert body["items"][0]["status"]["remote"] == "http://local/location/local-1"
        assert (await here.client.get(f"{W1}/deployment/mars-1")).status_code == 404


@pytest.mark.fact("F156", "F147")
async def test_a_deployment_is_ready_after_the_delay_and_lags_behind_a_change():
    async with local(ready_delay_seconds=5) as here:
        await here.create()
        status = await here.deployment()
        assert (status["ready"], status["lastProcessedVersion"]) == (False, 0)
        await here.advance(5)
        status = await here.deployment()
        assert (status["ready"], status["deploying"], status["lastProcessedVersion"]) == (
            True,
            False,
            1,
        )
        await here.client.patch(W1, json={"tags": {"a": 1}})
        status = await here.deployment()
        assert (status["ready"], status["deploying"], status["lastProcessedVersion"]) == (
            True,
            True,
            1,
        )
        assert status["expectedDeploymentVersion"] == 2
        await here.advance(5)
        assert (await here.deployment())["lastProcessedVersion"] == 2


async def test_a_run_waits_until_the_workload_is_ready():
    async with local(ready_delay_seconds=5) as here:
        await here.create()
        link = await here.start()
        await here.advance(4)
        assert await here.stage(link) == "pending"
        await here.advance(1)
        assert await here.stage(link) == "completed"


@pytest.mark.fact("F156")
async def test_a_run_uses_the_processed_version_and_not_the_newest():
    seen = []

    def script(run):
        seen.append(run.containers[0].image)
        return Script()

    async with local(script, ready_delay_seconds=5) as here:
        await here.create()
        await here.advance(5)
        await here.client.patch(
            W1, json={"spec": {"$patch/containers": [{"name": "main", "image": "new"}]}}
        )
        await here.start()
        await here.advance(5)
        await here.start()
        assert seen == ["ubuntu:latest", "new"]


@pytest.mark.fact("F154")
async def test_the_list_is_empty_for_the_first_seconds_when_configured():
    async with local(deployment_list_delay_seconds=2) as here:
        await here.create()
        assert (await here.get(f"{W1}/deployment"))["items"] == []
        await here.advance(2)
        assert len((await here.get(f"{W1}/deployment"))["items"]) == 1


@pytest.mark.fact("F149", "F097")
@pytest.mark.parametrize("limit", [None, 2])
async def test_finished_executions_are_capped_by_the_history_limit(limit):
    async with local(history_limit=3) as here:
        job = (
            {"schedule": "* * * * *"}
            if limit is None
            else {"schedule": "* * * * *", "historyLimit": limit}
        )
        await here.create(workload(job=job))
        links = []
        for _ in range(5):
            links.append(await here.start())
            await here.advance(1)
        shown = [run["name"] for run in (await here.deployment())["jobExecutions"]]
        newest = [f"command-{link.rsplit('/', 1)[-1]}" for link in reversed(links)]
        assert shown == newest[: limit or 3]
        assert len(here.platform.commands("w-1")) == 5


async def test_only_cron_workloads_show_executions():
    async with local() as here:
        document = workload(type="standard")
        del document["spec"]["job"]
        await here.create(document)
        assert "jobExecutions" not in await here.deployment()


@pytest.mark.fact("F155")
@pytest.mark.parametrize("suspended_ready", [True, False])
async def test_a_suspended_workload_is_ready_unless_switched(suspended_ready):
    async with local(suspended_ready=suspended_ready) as here:
        await here.create()
        assert (await here.deployment())["ready"] is suspended_ready
        assert ((await here.get(W1))["health"]["readiness"] == "ready") is suspended_ready
        await here.client.patch(W1, json={"spec": {"defaultOptions": {"suspend": False}}})
        assert (await here.deployment())["ready"] is True
