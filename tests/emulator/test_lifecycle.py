import pytest

from cpln_flows.emulator import Exit, ImagePullFailure, Line, NeverStart, OutOfMemory, Script

from .support import COMMANDS, W1, local, run_body, stop_body, workload

pytestmark = pytest.mark.anyio


def two_containers(**job):
    containers = [{"name": name, "image": "ubuntu", "command": "true"} for name in ("main", "side")]
    return workload(containers=containers, job={"schedule": "* * * * *", **job})


async def execution(here, link=W1):
    return (await here.deployment(link))["jobExecutions"][0]


async def replicas(here, location="local-1"):
    remote = (await here.deployment(location=location))["remote"]
    return (await here.get(f"{remote}/replicas{W1}"))["items"]


async def test_a_command_goes_from_pending_to_running_to_completed():
    async with local(Script((Exit(10),)), start_delay_seconds=5) as here:
        await here.create()
        link = await here.start(tags={"a": "1"})
        command = await here.get(link)
        assert (command["lifecycleStage"], "replica" in command["status"]) == ("pending", False)
        assert (await here.deployment())["jobExecutions"] == []
        await here.advance(5)
        command = await here.get(link)
        assert command["lifecycleStage"] == "running"
        assert command["status"]["replica"].startswith(f"command-{command['id']}-")
        assert (await execution(here))["status"] == "active"
        assert await replicas(here) == [command["status"]["replica"]]
        await here.advance(10)
        assert await here.stage(link) == "completed"
        ended = await execution(here)
        assert (ended["status"], ended["name"]) == ("successful", f"command-{command['id']}")
        assert ended["startTime"] < ended["completionTime"]
        assert ended["containers"]["main"]["restarts"] == {
            "exitCode": 0,
            "reason": "Completed",
            "count": 0,
        }
        assert await replicas(here) == []


@pytest.mark.fact("F157")
async def test_a_location_lists_its_own_replicas_only():
    async with local(Script((Exit(10),)), locations=("local-1", "local-2")) as here:
        await here.create()
        started = {place: await here.start(location=place) for place in ("local-1", "local-2")}
        for place, link in started.items():
            assert await replicas(here, place) == [(await here.get(link))["status"]["replica"]]
        assert (await here.client.get(f"/location/mars-1/replicas{W1}")).status_code == 404
        assert (await here.client.get("/location/local-1/replicas/org/local")).status_code == 404


async def test_versions_count_up_with_each_stage():
    async with local(Script((Exit(1),))) as here:
        await here.create()
        link = await here.start()
        before = (await here.get(link))["version"]
        await here.advance(1)
        assert (await here.get(link))["version"] == before + 1


@pytest.mark.parametrize(
    ("step", "code", "reason", "says"),
    [
        pytest.param(Exit(1, code=3), 3, "Error", "exit code 3", id="failure"),
        pytest.param(OutOfMemory(1), 137, "OOMKilled", "memory limit of 128Mi", id="out-of-memory"),
        pytest.param(
            Exit(1, code=1, reason="Evicted", message="disk full"),
            1,
            "Evicted",
            "disk full",
            id="own-words",
        ),
    ],
)
async def test_a_failure_is_shown_in_execution_and_command(step, code, reason, says):
    async with local(Script((step,))) as here:
        await here.create()
        link = await here.start()
        await here.advance(1)
        assert await here.stage(link) == "failed"
        ended = await execution(here)
        assert ended["status"] == "failed"
        assert ended["containers"]["main"]["restarts"] == {
            "exitCode": code,
            "reason": reason,
            "count": 0,
        }
        assert says in ended["containers"]["main"]["message"]
        assert any(says in message for message in (await here.get(link))["status"]["messages"])
        assert ended["conditions"][0]["type"] == "Failed"


async def test_a_run_ends_only_when_all_containers_have_ended():
    script = Script((Exit(1, container="main"), Exit(100, container="side")))
    async with local(script) as here:
        await here.create(two_containers())
        link = await here.start()
        await here.advance(1)
        assert await here.stage(link) == "running"
        containers = (await execution(here))["containers"]
        assert containers["main"]["restarts"]["exitCode"] == 0
        assert containers["side"]["ready"] is True
        await here.advance(99)
        assert await here.stage(link) == "completed"


async def test_an_image_that_cannot_be_pulled_keeps_the_command_pending_and_says_why():
    async with local(Script((ImagePullFailure("manifest unknown"),))) as here:
        await here.create()
        link = await here.start()
        await here.advance(3600)
        command = await here.get(link)
        assert command["lifecycleStage"] == "pending"
        assert "ImagePullBackOff: manifest unknown" in command["status"]["messages"][0]
        shown = await execution(here)
        assert shown["status"] == "pending"
        assert "manifest unknown" in shown["containers"]["main"]["message"]


async def test_a_run_without_capacity_never_gets_a_replica():
    async with local(Script((NeverStart("no nodes"),))) as here:
        await here.create()
        link = await here.start()
        command = await here.get(link)
        assert (command["lifecycleStage"], command["status"]["messages"]) == (
            "pending",
            ["no nodes"],
        )
        assert "replica" not in command["status"]
        assert await replicas(here) == []


@pytest.mark.fact("F130", "F140", "F141")
@pytest.mark.parametrize("final", ["failed", "cancelled"])
@pytest.mark.parametrize("between", ["running", "cancellation-requested"])
async def test_a_stop_ends_the_run_as_configured(final, between):
    script = Script((), stop_after_seconds=3)
    async with local(script, final_stage_after_stop=final, stage_while_stopping=between) as here:
        await here.create()
        link = await here.start()
        replica = (await here.get(link))["status"]["replica"]
        stop = await here.client.post(COMMANDS, json=stop_body(replica))
        assert stop.status_code == 201
        await here.settle()
        assert await here.stage(link) == between
        assert await here.stage(stop.headers["location"]) == "running"
        again = await here.client.post(COMMANDS, json=stop_body(replica))
        assert again.status_code == 400
        assert "already exists" in again.json()["message"]
        await here.advance(3)
        assert await here.stage(link) == final
        assert await here.stage(stop.headers["location"]) == "completed"
        assert (await execution(here))["containers"]["main"]["restarts"]["exitCode"] == 143


async def test_a_container_that_ignores_the_stop_is_killed_after_the_grace():
    async with local(Script((), ignores_stop=True), stop_grace_seconds=7) as here:
        await here.create()
        link = await here.start()
        await here.client.post(
            COMMANDS, json=stop_body((await here.get(link))["status"]["replica"])
        )
        await here.settle()
        await here.advance(6)
        assert await here.stage(link) == "cancellation-requested"
        await here.advance(1)
        assert await here.stage(link) == "failed"
        assert (await execution(here))["containers"]["main"]["restarts"]["exitCode"] == 137


@pytest.mark.fact("F075")
async def test_the_workloads_own_grace_counts():
    async with local(Script((), ignores_stop=True), stop_grace_seconds=7) as here:
        await here.create(workload(rolloutOptions={"terminationGracePeriodSeconds": 2}))
        link = await here.start()
        await here.client.post(
            COMMANDS, json=stop_body((await here.get(link))["status"]["replica"])
        )
        await here.settle()
        await here.advance(2)
        assert await here.stage(link) == "failed"


async def test_a_replica_that_cannot_be_killed_stays():
    async with local(
        Script((), ignores_stop=True, ignores_kill=True), stop_grace_seconds=1
    ) as here:
        await here.create()
        link = await here.start()
        await here.client.post(
            COMMANDS, json=stop_body((await here.get(link))["status"]["replica"])
        )
        await here.settle()
        await here.advance(3600)
        assert await here.stage(link) == "cancellation-requested"


async def test_stopping_what_does_not_run_is_a_command_that_fails():
    async with local() as here:
        await here.create()
        stop = await here.client.post(COMMANDS, json=stop_body("command-x"))
        assert stop.status_code == 201
        await here.settle()
        assert await here.stage(stop.headers["location"]) == "failed"


async def test_a_stop_without_replica_stops_all_when_switched():
    async with local(Script(()), stop_without_replica="all") as here:
        await here.create()
        links = [await here.start(), await here.start()]
        body = {"type": "stopReplica", "spec": {"location": "local-1"}}
        assert (await here.client.post(COMMANDS, json=body)).status_code == 201
        await here.settle()
        await here.advance(0.1)
        assert [await here.stage(link) for link in links] == ["failed", "failed"]


@pytest.mark.fact("F105")
@pytest.mark.parametrize("status", ["failed", "removed"])
@pytest.mark.parametrize("by", ["command", "workload"])
async def test_a_deadline_ends_the_run_with_its_condition(status, by):
    async with local(Script(()), deadline_status=status) as here:
        job = {"schedule": "* * * * *", "activeDeadlineSeconds": 5 if by == "workload" else 3600}
        await here.create(workload(job=job))
        link = await here.start(**({"activeDeadlineSeconds": 5} if by == "command" else {}))
        await here.advance(4)
        assert await here.stage(link) == "running"
        await here.advance(1.5)
        assert await here.stage(link) == "failed"
        ended = await execution(here)
        assert ended["status"] == status
        assert (ended["conditions"][0]["type"], ended["conditions"][0]["reason"]) == (
            "FailureTarget",
            "DeadlineExceeded",
        )


@pytest.mark.fact("F105")
async def test_a_deadline_is_seen_at_once_and_the_container_killed_after_the_grace():
    async with local(Script((), ignores_stop=True), stop_grace_seconds=90) as here:
        await here.create()
        link = await here.start(activeDeadlineSeconds=5)
        await here.advance(5)
        assert (await execution(here))["conditions"][0]["reason"] == "DeadlineExceeded"
        assert await here.stage(link) == "running"
        await here.advance(90)
        assert await here.stage(link) == "failed"


@pytest.mark.fact("F098")
async def test_a_failing_container_is_restarted_under_on_failure():
    attempts = []

    def script(run):
        attempts.append(run.attempt)
        return Script((Exit(1, code=0 if run.attempt == 2 else 1),))

    async with local(script, restart_delay_seconds=10) as here:
        await here.create(workload(job={"schedule": "* * * * *", "restartPolicy": "OnFailure"}))
        link = await here.start()
        await here.advance(1)
        shown = (await execution(here))["containers"]["main"]
        assert shown["restarts"] == {"exitCode": 1, "reason": "Error", "count": 1}
        await here.advance(100)
        assert await here.stage(link) == "completed"
        assert attempts == [0, 1, 2]


async def test_a_run_between_two_restarts_can_be_stopped():
    async with local(Script((Exit(1, code=1),)), restart_delay_seconds=1000) as here:
        await here.create(workload(job={"schedule": "* * * * *", "restartPolicy": "OnFailure"}))
        link = await here.start()
        await here.advance(1)
        await here.client.post(
            COMMANDS, json=stop_body((await here.get(link))["status"]["replica"])
        )
        await here.settle()
        assert await here.stage(link) == "failed"


async def test_deleting_a_workload_kills_its_runs_and_its_commands_are_gone():
    async with local(Script(())) as here:
        await here.create()
        link = await here.start()
        await here.client.delete(W1)
        assert here.platform.active_jobs == []
        await here.advance(1)
        assert (await here.client.get(link)).status_code == 404
        assert here.platform.commands() == []


@pytest.mark.fact("F144")
async def test_finished_commands_expire_when_configured():
    async with local(command_retention_seconds=60) as here:
        await here.create()
        link = await here.start()
        assert await here.stage(link) == "completed"
        await here.advance(60)
        assert (await here.client.get(link)).status_code == 404


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "PUT"])
async def test_a_command_can_only_be_read(method):
    async with local() as here:
        await here.create()
        assert (await here.client.request(method, await here.start(), json={})).status_code == 405


@pytest.mark.fact("F095", "F100", "F150")
async def test_a_live_schedule_runs_on_the_clock_until_it_is_suspended():
    async with local(Script((Line(0, "tick"), Exit(1)))) as here:
        await here.create(workload(defaultOptions={"suspend": False}))
        await here.advance(180)
        assert here.platform.jobs_started == 3
        shown = await execution(here)
        assert not shown["name"].startswith("command-")
        assert here.platform.commands() == []
        await here.client.patch(W1, json={"spec": {"defaultOptions": {"suspend": True}}})
        await here.advance(180)
        assert here.platform.jobs_started == 3


@pytest.mark.fact("F096")
@pytest.mark.parametrize(
    ("policy", "started", "active"), [("Forbid", 1, 1), ("Allow", 3, 3), ("Replace", 3, 1)]
)
async def test_the_concurrency_policy_holds_for_scheduled_runs(policy, started, active):
    async with local(Script(())) as here:
        job = {"schedule": "* * * * *", "concurrencyPolicy": policy}
        await here.create(workload(job=job, defaultOptions={"suspend": False}))
        await here.advance(190)
        assert (here.platform.jobs_started, len(here.platform.active_jobs)) == (started, active)
        await here.start()
        assert here.platform.jobs_started == started + 1


async def test_a_suspended_workload_runs_on_demand():
    async with local() as here:
        await here.create()
        assert await here.stage(await here.start()) == "completed"


async def test_the_answer_to_a_start_comes_before_the_run():
    async with local() as here:
        await here.create()
        response = await here.client.post(COMMANDS, json=run_body())
        assert response.text == "Created"
        assert response.headers["location"].startswith(f"{COMMANDS}/")
        assert response.headers["date"]
