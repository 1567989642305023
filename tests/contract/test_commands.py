"""Runs and stops: what a command is, how it goes, and what the deployment shows of it."""

import re
from email.utils import parsedate_to_datetime

import pytest

pytestmark = pytest.mark.xdist_group("contract")

FOREVER = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)"
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z"


def run_body(platform, **spec):
    return {
        "type": "runCronWorkload",
        "spec": {"location": platform.location, "containerOverrides": [], **spec},
    }


def stop_body(platform, replica):
    return {"type": "stopReplica", "spec": {"location": platform.location, "replica": replica}}


def execution(platform, workload, command):
    """How the deployment shows a run."""
    name = f"command-{command.rsplit('/', 1)[1]}"
    return next(
        (each for each in platform.deployment(workload)["jobExecutions"] if each["name"] == name),
        None,
    )


@pytest.fixture(scope="module")
def workload(platform) -> str:
    return platform.workload()


@pytest.fixture(scope="module")
def completed(platform, workload) -> str:
    command = platform.start(workload, tags={"prefect.io/flow-name": "etl"})
    platform.ended(command)
    return command


@pytest.fixture(scope="module")
def endless(platform) -> str:
    return platform.workload(FOREVER, rolloutOptions={"terminationGracePeriodSeconds": 2})


@pytest.mark.fact("F126", "F127", "F135")
def test_a_start_answers_201_with_location_and_date(platform, workload) -> None:
    answer = platform.http.post(f"{workload}/-command", json=run_body(platform))
    assert (answer.status_code, answer.text) == (201, "Created")
    assert parsedate_to_datetime(answer.headers["date"])
    parent, _, command_id = answer.headers["location"].rpartition("/")
    assert parent == f"{workload}/-command"
    assert platform.get(answer.headers["location"])["id"] == command_id
    platform.ended(answer.headers["location"])


@pytest.mark.fact("F129", "F128", "F131", "F142", "F143")
def test_a_completed_command_has_its_fields(platform, workload, completed) -> None:
    command = platform.get(completed)
    fields = {
        "id",
        "ownerId",
        "kind",
        "version",
        "created",
        "lastModified",
        "links",
        "tags",
        "type",
        "lifecycleStage",
        "spec",
    }
    assert fields <= set(command)
    assert (command["kind"], command["type"], command["lifecycleStage"]) == (
        "command",
        "runCronWorkload",
        "completed",
    )
    assert command["ownerId"] == platform.get(workload)["id"]
    assert command["tags"] == {"prefect.io/flow-name": "etl"}
    assert {"rel": "self", "href": completed} in command["links"]
    listed = platform.get(f"{workload}/-command")
    assert (listed["kind"], listed["itemKind"]) == ("list", "command")
    assert platform.get(completed)["version"] > 1


@pytest.mark.fact("F138", "F175")
def test_the_status_of_a_run_has_its_replica_and_clusters(platform, workload, completed) -> None:
    command = platform.get(completed)
    status = command["status"]
    assert re.fullmatch(rf"command-{command['id']}-.+", status["replica"])
    assert platform.location in status["clusterIdByLocation"]
    assert status["minimumWorkloadVersion"] <= platform.get(workload)["version"]
    assert isinstance(status["messages"], list)


@pytest.mark.fact("F142", "F151", "F152")
def test_a_failed_run_has_its_exit_code_in_the_execution(platform) -> None:
    workload = platform.workload("raise SystemExit(3)")
    command = platform.start(workload)
    assert platform.ended(command)["lifecycleStage"] == "failed"
    shown = platform.until(
        lambda: (
            (found := execution(platform, workload, command))
            and found["status"] == "failed"
            and found
        )
    )
    assert shown["containers"]["main"]["restarts"]["exitCode"] == 3
    assert shown["conditions"][0]["status"] == "True"
    assert {"type", "reason", "message"} <= set(shown["conditions"][0])


@pytest.mark.fact("F149", "F150", "F151", "F152", "F082")
def test_a_completed_run_is_shown_in_the_status_of_the_deployment(
    platform, workload, completed
) -> None:
    shown = platform.until(
        lambda: (
            (found := execution(platform, workload, completed))
            and found.get("completionTime")
            and found
        )
    )
    assert (shown["status"], shown["workloadVersion"]) == ("successful", 1)
    assert re.fullmatch(MOMENT, shown["startTime"])
    assert shown["startTime"] <= shown["completionTime"]
    container = shown["containers"]["main"]
    assert (container["name"], container["image"]) == ("main", "python:3.12-slim")
    assert {"replicas", "replicasReady"} <= set(container["resources"])


@pytest.mark.fact("F130", "F151", "F157", "F078", "F079")
def test_a_running_command_is_active_and_its_replica_is_listed(platform, endless) -> None:
    command = platform.start(endless)
    running = platform.running(command)
    platform.until(lambda: platform.get(command)["lifecycleStage"] == "running")
    replica = running["status"]["replica"]
    shown = platform.until(
        lambda: (
            (found := execution(platform, endless, command))
            and found["status"] == "active"
            and found
        )
    )
    assert not shown.get("completionTime")
    stored = platform.get(endless)
    assert (stored["status"]["currentReplicaCount"], stored["health"]["totalReplicas"]) == (1, 1)
    listed = platform.http.get(f"{platform.deployment(endless)['remote']}/replicas{endless}").json()
    assert (listed["kind"], listed["items"]) == ("list", [replica])
    stop(platform, endless, command)


@pytest.mark.fact("F157")
def test_each_location_lists_its_own_replicas(platform, endless) -> None:
    remotes = {
        item["name"]: item["status"]["remote"]
        for item in platform.get(f"{endless}/deployment")["items"]
    }
    started = {place: platform.start(endless, location=place) for place in remotes}
    replicas = {
        place: [platform.running(command)["status"]["replica"]]
        for place, command in started.items()
    }

    def listed():
        return {
            place: platform.get(f"{remote}/replicas{endless}")["items"]
            for place, remote in remotes.items()
        }

    # What another test has stopped may be on its way out.
    assert platform.until(lambda: (found := listed()) == replicas and found) == replicas
    for place, (replica,) in replicas.items():
        body = {"type": "stopReplica", "spec": {"location": place, "replica": replica}}
        platform.http.post(f"{endless}/-command", json=body).raise_for_status()
        platform.ended(started[place])


@pytest.mark.fact("F146", "F147", "F148", "F156")
def test_a_deployment_shows_the_version_that_it_has_processed(platform) -> None:
    workload = platform.workload("print('old')")
    container = {"name": "main", "args": ["-c", "print('new')"]}
    platform.http.patch(
        workload, json={"spec": {"$patch/containers": [container]}}
    ).raise_for_status()
    status = platform.until(
        lambda: (it := platform.deployment(workload)).get("lastProcessedVersion") == 2 and it
    )
    assert (status["ready"], status["deploying"], status["internal"], status["message"]) == (
        True,
        False,
        {},
        "",
    )
    assert (status["expectedDeploymentVersion"], status["desiredScale"], status["endpoint"]) == (
        2,
        0,
        "",
    )
    version = status["versions"][0]
    assert (version["workload"], version["gvc"], version["ready"], version["message"]) == (
        2,
        platform.gvc,
        True,
        "",
    )
    assert re.fullmatch(MOMENT, version["created"])
    assert {"name", "zone"} <= set(version)
    assert (version["containers"]["main"]["name"], version["containers"]["main"]["image"]) == (
        "main",
        "python:3.12-slim",
    )
    replica = platform.ended(platform.start(workload))["status"]["replica"]
    assert platform.until(
        lambda: platform.lines(f'{{gvc="{platform.gvc}", replica="{replica}"}}')
    ) == ["new"]


@pytest.mark.fact("F105", "F099")
def test_a_run_beyond_its_deadline_fails_and_says_so(platform, endless) -> None:
    command = platform.start(endless, activeDeadlineSeconds=1)
    assert platform.ended(command)["lifecycleStage"] == "failed"
    shown = platform.until(
        lambda: (
            (found := execution(platform, endless, command))
            and found["status"] == "failed"
            and found
        )
    )
    condition = next(each for each in shown["conditions"] if each["type"] == "FailureTarget")
    assert (condition["status"], condition["reason"]) == ("True", "DeadlineExceeded")


def stop(platform, workload, command):
    replica = platform.running(command)["status"]["replica"]
    answer = platform.http.post(f"{workload}/-command", json=stop_body(platform, replica))
    assert answer.status_code == 201, answer.text
    return platform.ended(command), platform.ended(answer.headers["location"])


@pytest.mark.fact("F132", "F139", "F141", "F131")
def test_a_stop_ends_the_run(platform, endless) -> None:
    command = platform.start(endless)
    run, stopped = stop(platform, endless, command)
    assert run["lifecycleStage"] in ("failed", "cancelled")
    assert stopped["lifecycleStage"] == "completed"
    assert platform.location in stopped["status"]["clusterIdByLocation"]
    assert stopped["status"]["podCreatedByCommandLink"] == command
    assert {"clusterId", "podId"} <= set(stopped["status"])


@pytest.mark.fact("F140", "F050")
def test_a_second_stop_meanwhile_is_there_already(platform) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
    workload = platform.workload(deaf, rolloutOptions={"terminationGracePeriodSeconds": 3})
    command = platform.start(workload)
    replica = platform.running(command)["status"]["replica"]
    query = f'{{gvc="{platform.gvc}", replica="{replica}"}}'
    platform.until(lambda: platform.lines(query))
    first = platform.http.post(f"{workload}/-command", json=stop_body(platform, replica))
    second = platform.http.post(f"{workload}/-command", json=stop_body(platform, replica))
    assert (first.status_code, second.status_code) == (201, 400)
    assert "already exists" in second.json()["message"]
    platform.ended(command)


@pytest.mark.fact("F132", "F133", "F134")
@pytest.mark.parametrize(
    "body",
    [
        {"type": "expandVolume", "spec": {}},
        {"type": "runCronWorkload", "spec": {}},
        {"type": "runCronWorkload", "spec": {"location": "mars-1"}},
        {"override": {"name": "other"}},
        {"override": {"name": "main", "command": ["sh"]}},
        {"override": {"env": []}},
        *(
            {"override": {"name": "main", field: "x"}}
            for field in ("workingDir", "volumes", "ports", "lifecycle", "identityLink")
        ),
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_wrong_command_is_refused(platform, workload, body) -> None:
    if "override" in body:
        body = run_body(platform, containerOverrides=[body["override"]])
    assert platform.http.post(f"{workload}/-command", json=body).status_code == 400


@pytest.mark.fact("F133", "F134", "F135", "F136")
def test_overrides_are_merged_into_their_containers(platform) -> None:
    say = "import os; print(os.environ.get('A'), os.environ.get('B'), os.environ.get('C'))"
    given = [{"name": "A", "value": "a"}, {"name": "B", "value": "b"}]
    containers = [
        {
            "name": name,
            "image": "python:3.12-slim",
            "command": "python",
            "args": ["-c", say],
            "env": given,
        }
        for name in ("main", "side", "other")
    ]
    workload = platform.workload(containers=containers)
    overrides = [
        {
            "name": "main",
            "env": [{"name": "B", "value": "new"}, {"name": "C", "value": "c"}],
            "cpu": "60m",
            "memory": "130Mi",
        },
        {"name": "side", "command": "echo", "args": ["args", "and", "command"]},
    ]
    command = platform.start(workload, overrides=overrides, activeDeadlineSeconds=120)
    ended = platform.ended(command)
    assert ended["lifecycleStage"] == "completed"
    assert ended["spec"]["activeDeadlineSeconds"] == 120
    wanted = {"main": "a new c", "side": "args and command", "other": "a b None"}

    def said():
        replica = ended["status"]["replica"]
        return {
            name: platform.lines(
                f'{{gvc="{platform.gvc}", replica="{replica}", container="{name}"}}'
            )
            for name in wanted
        }

    assert platform.until(lambda: all((lines := said()).values()) and lines) == {
        name: [line] for name, line in wanted.items()
    }
    assert execution(platform, workload, command)["containers"]["main"]["resources"]["cpu"] == "60m"


@pytest.mark.fact("F101", "F155")
def test_a_suspended_workload_is_ready_and_runs_on_demand(platform, workload, completed) -> None:
    assert platform.get(workload)["spec"]["defaultOptions"]["suspend"] is True
    assert platform.deployment(workload)["ready"] is True
    assert platform.get(completed)["lifecycleStage"] == "completed"


@pytest.mark.fact("F096", "F145")
def test_the_same_start_sent_twice_is_two_runs_side_by_side(platform, endless) -> None:
    body = {**run_body(platform), "tags": {"submission": "one"}}
    links = [
        platform.http.post(f"{endless}/-command", json=body).headers["location"] for _ in range(2)
    ]
    assert links[0] != links[1]
    assert len({platform.running(link)["status"]["replica"] for link in links}) == 2
    for link in links:
        stop(platform, endless, link)


@pytest.mark.fact("F124")
def test_a_run_keeps_the_secret_it_was_started_with_and_the_next_has_the_new_one(platform) -> None:
    name = platform.name("secret")
    secret = platform.create(
        f"{platform.org_link}/secret", {"name": name, "type": "dictionary", "data": {"KEY": "old"}}
    )
    identity = platform.create(f"{platform.gvc_link}/identity", {"name": platform.name("identity")})
    value = [{"name": "KEY", "value": f"cpln://secret/{name}.KEY"}]
    script = "import os; print(os.environ['KEY'])"
    container = {
        "name": "main",
        "image": "python:3.12-slim",
        "command": "python",
        "args": ["-c", script],
        "env": value,
    }
    document = platform.workload_document(identityLink=identity, containers=[container])
    workload = platform.create(f"{platform.gvc_link}/workload", document)
    platform.until(
        lambda: (
            platform.deployment(workload).get("ready") is False
            and platform.deployment(workload)["message"]
        )
    )
    bindings = [{"permissions": ["reveal"], "principalLinks": [identity]}]
    policy = {
        "name": platform.name("policy"),
        "targetKind": "secret",
        "targetLinks": [secret],
        "bindings": bindings,
    }
    platform.create(f"{platform.org_link}/policy", policy)
    platform.until(lambda: platform.deployment(workload).get("ready"))

    def told():
        replica = platform.ended(platform.start(workload))["status"]["replica"]
        return platform.until(
            lambda: platform.lines(f'{{gvc="{platform.gvc}", replica="{replica}"}}')
        )

    assert told() == ["old"]
    platform.http.patch(secret, json={"data": {"KEY": "new"}}).raise_for_status()
    assert told() == ["new"]


@pytest.mark.fact("F144")
def test_commands_go_with_their_workload(platform) -> None:
    workload = platform.workload()
    command = platform.start(workload)
    platform.ended(command)
    platform.http.delete(workload).raise_for_status()
    platform.until(lambda: platform.http.get(command).status_code == 404)


@pytest.mark.fact("F137")
def test_an_override_takes_an_image_of_the_organisation(platform, workload) -> None:
    image = f"{platform.org_link}/image/contract:v1"
    command = platform.start(workload, overrides=[{"name": "main", "image": image}])
    stored = platform.get(command)["spec"]["containerOverrides"][0]["image"]
    assert stored == image
    platform.until(lambda: execution(platform, workload, command))
    assert execution(platform, workload, command)["containers"]["main"]["image"] == image
