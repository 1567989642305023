import pytest

from cpln_flows.emulator.workload_rules import quantity

from .support import COMMANDS, W1, WORKLOADS, local, run_body, workload

pytestmark = pytest.mark.anyio


def with_container(**fields):
    document = workload()
    document["spec"]["containers"][0].update(fields)
    return document


def with_job(**fields):
    document = workload()
    document["spec"]["job"].update(fields)
    return document


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param({**workload(), "name": "W"}, '"name"', id="name"),
        pytest.param({**workload(), "name": "w" * 50}, "49", id="name-too-long"),
        pytest.param({**workload(), "name": "w-headless"}, "headless", id="headless"),
        pytest.param({**workload(), "kind": "Workload"}, '"kind"', id="kind"),
        pytest.param({**workload(), "extra": 1}, '"extra"', id="unknown-field"),
        pytest.param({**workload(), "tags": {"a": {}}}, '"tags.a"', id="tag-value"),
        pytest.param(
            {**workload(), "tags": {f"t{n}": 1 for n in range(51)}}, '"tags"', id="too-many-tags"
        ),
        pytest.param({**workload(), "description": "x" * 251}, '"description"', id="description"),
        pytest.param({**workload(), "spec": {}}, '"spec.type"', id="no-spec"),
        pytest.param(workload(containers=[]), '"spec.containers"', id="no-container"),
        pytest.param(workload(type="batch"), '"spec.type"', id="type"),
        pytest.param(
            workload(identityLink="//gvc/quickstart/identity/none"),
            "identityLink",
            id="missing-identity",
        ),
        pytest.param(with_container(name="cpln-x"), "reserved", id="container-name"),
        pytest.param(with_container(image=None), "containers[0].image", id="image"),
        pytest.param(
            with_container(command="x" * 257), "containers[0].command", id="command-too-long"
        ),
        pytest.param(
            with_container(command=["python"]), "containers[0].command", id="command-is-one-text"
        ),
        pytest.param(with_container(args=[1]), "containers[0].args[0]", id="argument"),
        pytest.param(
            with_container(env=[{"name": "CPLN_TOKEN", "value": "x"}]),
            "reserved for system use",
            id="reserved-env",
        ),
        pytest.param(
            with_container(env=[{"name": "A", "valueFrom": {}}]),
            "env[0].valueFrom",
            id="value-from",
        ),
        pytest.param(
            with_container(env=[{"name": "1 A", "value": ""}]), "env[0].name", id="env-name"
        ),
        pytest.param(
            with_container(env=[{"name": "A", "value": "x" * 4097}]), "env[0].value", id="env-value"
        ),
        pytest.param(with_container(cpu="x"), "containers[0].cpu", id="cpu"),
        pytest.param(with_container(cpu="10m"), "25m", id="cpu-too-small"),
        pytest.param(with_container(memory="1Mi"), "32Mi", id="memory-too-small"),
        pytest.param(with_container(cpu="50m", memory="512Mi"), "memory", id="memory-to-cpu-ratio"),
        pytest.param(with_container(minCpu="1"), "minCpu", id="minimum-above-maximum"),
        pytest.param(with_container(workingDir="here"), "workingDir", id="working-dir"),
        pytest.param(with_container(ports=[{"number": 8012}]), "ports[0].number", id="port"),
        pytest.param(
            with_container(volumes=[{"uri": "scratch://x", "path": "/var/log"}]),
            "volumes[0].path",
            id="reserved-mount",
        ),
        pytest.param(
            with_container(
                volumes=[
                    {"uri": "scratch://x", "path": "/a"},
                    {"uri": "scratch://y", "path": "/a/b"},
                ]
            ),
            "nested",
            id="nested-mounts",
        ),
        pytest.param(
            with_container(resources={}), "containers[0].resources", id="kubernetes-field"
        ),
        pytest.param(with_job(schedule="often"), "spec.job.schedule", id="schedule"),
        pytest.param(with_job(historyLimit=11), "spec.job.historyLimit", id="history-limit"),
        pytest.param(
            with_job(activeDeadlineSeconds=86_401), "spec.job.activeDeadlineSeconds", id="deadline"
        ),
        pytest.param(
            with_job(restartPolicy="Always"), "spec.job.restartPolicy", id="restart-policy"
        ),
        pytest.param(with_job(suspend=True), "spec.job.suspend", id="job-suspend"),
        pytest.param(
            workload(rolloutOptions={"terminationGracePeriodSeconds": 901}),
            "GracePeriodSeconds",
            id="grace",
        ),
    ],
)
async def test_a_wrong_workload_is_400_and_the_message_names_the_field(document, says):
    async with local() as here:
        response = await here.client.post(WORKLOADS, json=document)
        assert response.status_code == 400
        assert says in response.json()["message"]
        assert (await here.client.get(W1)).status_code == 404


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(with_container(cpu="500m", memory="512Mi"), id="resources"),
        pytest.param(
            {
                **with_container(cpu="25m", memory="512Mi"),
                "tags": {"cpln/relaxMemoryToCpuRatio": True},
            },
            id="relaxed-ratio",
        ),
        pytest.param(workload(type="standard", job=None), id="another-type"),
        pytest.param({**workload(), "name": "w" * 49}, id="longest-name"),
        pytest.param(
            {**workload(), "kind": "workload", "gvc": "quickstart"}, id="as-apply-sends-it"
        ),
    ],
)
async def test_a_right_workload_is_created(document):
    if document["spec"].get("job", 1) is None:
        del document["spec"]["job"]
    async with local() as here:
        await here.create(document)


async def test_job_suspend_can_be_tolerated():
    async with local(job_suspend="ignore") as here:
        await here.create(with_job(suspend=True))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(run_body(location="mars-1"), "spec.location", id="unknown-location"),
        pytest.param({"type": "runCronWorkload", "spec": {}}, "spec.location", id="no-location"),
        pytest.param(
            run_body(overrides=[{"name": "other"}]),
            "containerOverrides[0].name",
            id="unknown-container",
        ),
        pytest.param(
            run_body(overrides=[{"name": "main", "workingDir": "/x"}]),
            "workingDir",
            id="not-overridable",
        ),
        pytest.param(
            run_body(overrides=[{"name": "main", "env": [{"name": "CPLN_ORG", "value": "x"}]}]),
            "reserved",
            id="env",
        ),
        pytest.param(run_body(activeDeadlineSeconds=0), "activeDeadlineSeconds", id="deadline"),
        pytest.param(run_body(tags={"a": []}), "tags.a", id="tags"),
        pytest.param({"type": "expandVolume", "spec": {"location": "local-1"}}, "type", id="type"),
        pytest.param(
            {"type": "stopReplica", "spec": {"location": "local-1"}},
            "spec.replica",
            id="stop-without-replica",
        ),
    ],
)
async def test_a_wrong_command_is_400_and_the_message_names_the_field(body, says):
    async with local() as here:
        await here.create()
        response = await here.client.post(COMMANDS, json=body)
        assert response.status_code == 400
        assert says in response.json()["message"]


async def test_only_cron_workloads_are_run():
    async with local() as here:
        document = workload(type="standard")
        del document["spec"]["job"]
        await here.create(document)
        assert (await here.client.post(COMMANDS, json=run_body())).status_code == 400


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("50m", 0.05),
        ("1", 1.0),
        ("128Mi", 2.0**27),
        ("1e3", 1000.0),
        ("2G", 2e9),
        ("Mi", None),
        ("1Qi", None),
        ("..", None),
    ],
)
def test_quantities_are_kubernetes(text, amount):
    assert quantity(text) == (None if amount is None else pytest.approx(amount))
