"""From a pool's template to the job of a flow run.

Variables, defaults, what travels, and what a user gets wrong.
"""

import json
import traceback
from datetime import UTC, datetime
from uuid import UUID, uuid4

import anyio
import pytest
from prefect.client.schemas.objects import Flow, FlowRun, State, StateType, WorkPool
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.utilities.dockerutils import get_prefect_image_name
from pydantic import SecretStr

from cpln_flows import CplnConfig, CplnWorker
from cpln_flows.errors import ConfigurationError, ManifestError
from cpln_flows.model.identifiers import Owner, Submission
from cpln_flows.model.links import GvcRef
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import CplnSettings
from cpln_flows.worker import CplnWorkerJobConfiguration

CANARY = "s.canary-configuration-0123456789"
RUN = FlowRun(
    id=uuid4(),
    flow_id=uuid4(),
    name="happy fox ☂",
    state=State(type=StateType.PENDING, timestamp=datetime.now(UTC)),
)
FLOW = Flow(id=RUN.flow_id, name="etl")
GVC = GvcRef("acme", "dev")
IDENTITY = JobIdentity(
    Owner(flow_run_id=RUN.id, flow_name="etl", installation=UUID(int=1)), Submission(RUN.id, 2)
)


def _made(template=None, prepare=True, **variables) -> CplnWorkerJobConfiguration:
    base = template or CplnWorker.get_default_base_job_template()

    async def main():
        return await CplnWorkerJobConfiguration.from_template_and_values(
            base, variables, client=object()
        )

    made = anyio.run(main)
    if prepare:
        made.prepare_for_flow_run(
            RUN, flow=FLOW, work_pool=_pool(base), worker_name="w", worker_id=uuid4()
        )
    return made


def _pool(template) -> WorkPool:
    return WorkPool(
        id=uuid4(), name="cpln", type="cpln", base_job_template=template, default_queue_id=uuid4()
    )


def _plan(**variables):
    return _made(**variables).plan(IDENTITY, GVC, "local-1")


def test_the_default_template_declares_every_placeholder_it_uses() -> None:
    template = CplnWorker.get_default_base_job_template()
    text = json.dumps(template["job_configuration"])
    used = {part.split("}}")[0].strip() for part in text.split("{{")[1:]}
    assert used <= set(template["variables"]["properties"])
    wanted = {
        "config",
        "org",
        "namespace",
        "location",
        "image",
        "command",
        "env",
        "labels",
        "name",
        "service_account_name",
    }
    wanted |= {
        "cpu",
        "memory",
        "finished_job_ttl",
        "job_watch_timeout_seconds",
        "pod_watch_timeout_seconds",
        "stream_output",
    }
    assert set(template["variables"]["properties"]) == wanted


def test_every_variable_comes_where_it_belongs() -> None:
    plan = _plan(
        image="flows:1",
        cpu="500m",
        memory="1Gi",
        service_account_name="runner",
        env={"A": "1", "GONE": None},
    )
    main = plan.manifest.main
    assert (main.name, main.image, main.cpu, main.memory) == (
        "prefect-job",
        "flows:1",
        "500m",
        "1024Mi",
    )
    assert main.args == ("prefect", "flow-run", "execute")
    assert plan.manifest.identity == "//gvc/dev/identity/runner"
    assert main.env["A"] == "1"
    assert "GONE" not in main.env
    assert main.env["PREFECT__FLOW_RUN_ID"] == str(RUN.id)


def test_jobs_of_one_specification_share_a_workload_whatever_the_run_brings() -> None:
    first = _plan(image="a:1", env={"A": "1"}, cpu="500m")
    second = _plan(image="b:2", command="true", memory="1Gi")
    assert first.workload_of(0) == second.workload_of(1)
    assert first.workload_of(0) != _plan(service_account_name="other").workload_of(0)
    assert "PREFECT__FLOW_RUN_ID" not in json.dumps(first.workload_body(first.workload_of(0)))


def test_a_name_that_was_chosen_is_the_name_of_the_workload() -> None:
    assert _plan(name="nightly").workload_of(0).name.startswith("nightly-")
    assert _plan(name="{{ ctx.flow.name }}").workload_of(0).name.startswith("etl-")
    assert _plan().workload_of(0).name.startswith("prefect-job-")


def test_a_command_carries_whose_it_is_and_the_labels_of_the_run() -> None:
    tags = _plan(labels={"team": "data"}).command_tags
    assert tags["prefect.io/flow-run-id"] == str(RUN.id)
    assert tags["prefect.io/flow-name"] == "etl"
    assert tags["cpln-flows/role"] == "container"
    assert tags["cpln-flows/attempt"] == "2"
    assert tags["prefect.io/work-pool-name"] == "cpln"
    assert tags["team"] == "data"
    assert len(tags) <= 50


def test_too_many_labels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="labels"):
        _plan(labels={f"l{n}": "x" for n in range(40)})


def test_a_stopped_engine_leaves_the_state_unless_the_user_wants_otherwise() -> None:
    name = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
    assert _made().env[name] == "relinquish"
    assert _made(env={name: "reschedule"}).env[name] == "reschedule"


def test_the_workers_api_travels_and_its_home_does_not() -> None:
    with temporary_settings(
        {
            PREFECT_API_URL: "http://prefect/api",
            PREFECT_API_KEY: "key",
            PREFECT_HOME: "/root/.prefect",
        }
    ):
        env = _made().env
        assert env["PREFECT_API_URL"] == "http://prefect/api"
        assert env["PREFECT_API_KEY"] == "key"
        assert "PREFECT_HOME" not in env
        assert (
            _made(env={"PREFECT_API_URL": "http://inside/api"}).env["PREFECT_API_URL"]
            == "http://inside/api"
        )


def test_org_gvc_location_and_token_come_from_the_pool_else_from_the_worker(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_ORG", "acme")
    monkeypatch.setenv("CPLN_GVC", "dev")
    monkeypatch.setenv("CPLN_LOCATION", "/org/acme/location/aws-eu-central-1")
    monkeypatch.setenv("CPLN_TOKEN", "s.of-the-worker")
    settings, given = (
        CplnSettings.load(),
        _made(org="o", namespace="g", location="/org/o/location/l"),
    )
    assert _made().gvc(settings) == GVC
    assert _made().wanted_location(settings) == "aws-eu-central-1"
    assert _made().api_settings(settings).token.get_secret_value() == "s.of-the-worker"
    assert (given.gvc(settings), given.wanted_location(settings)) == (GvcRef("o", "g"), "l")
    given.config = CplnConfig(token=SecretStr(CANARY))
    assert given.api_settings(settings).token.get_secret_value() == CANARY
    assert CANARY not in f"{given!r} {given} {given.model_dump_json()}"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        pytest.param({}, "org: the work pool gives none and CPLN_ORG", id="no-org"),
        pytest.param(
            {"org": "acme"}, "namespace: the work pool gives none and CPLN_GVC", id="no-gvc"
        ),
        pytest.param({"org": " ", "namespace": "dev"}, "org", id="an-empty-org"),
    ],
)
def test_what_is_missing_is_said_with_where_it_can_be_given(variables, says) -> None:
    with pytest.raises(ConfigurationError, match=says):
        _made(**variables).gvc(CplnSettings.load())


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        pytest.param(
            {"org": "/org/acme", "namespace": "/org/acme/gvc/dev"}, GvcRef("acme", "dev"), id="both"
        ),
        pytest.param({"namespace": "/org/acme/gvc/dev"}, GvcRef("acme", "dev"), id="one-says-both"),
        pytest.param(
            {"org": "acme", "namespace": "//gvc/dev"}, GvcRef("acme", "dev"), id="short-link"
        ),
    ],
)
def test_links_are_taken_for_names(variables, found) -> None:
    assert _made(**variables).gvc(CplnSettings.load()) == found


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        pytest.param(
            {"org": "b", "namespace": "/org/acme/gvc/dev"},
            "'acme', and the organization given is 'b'",
            id="disagree",
        ),
        pytest.param(
            {"org": "/gvc/x", "namespace": "dev"},
            "expected a name such as acme, or a link",
            id="no-org",
        ),
        pytest.param(
            {"location": "/org/acme"},
            "location: expected a name such as aws-eu-central-1,",
            id="no-location",
        ),
    ],
)
def test_wrong_link_is_said_with_where_to_correct_it(variables, says) -> None:
    made = _made(**{"org": "acme", "namespace": "dev", **variables})
    with pytest.raises(
        ConfigurationError, match=f"{says}.*; correct it in the deployment's job variables"
    ):
        made.gvc(CplnSettings.load()), made.wanted_location(CplnSettings.load())


def test_variable_of_a_wrong_type_is_one_sentence() -> None:
    with pytest.raises(ConfigurationError) as caught:
        _made(job_watch_timeout_seconds="soon", config={"token": [CANARY]})
    assert (
        "job variables: config.token: expected a valid string, found a value of type list"
        in str(caught.value)
    )
    assert (
        "job_watch_timeout_seconds: expected a valid integer, found 'soon'; correct it in the"
        in str(caught.value)
    )
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_no_token_is_said_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="CPLN_TOKEN"):
        _made().api_settings(CplnSettings.load())


def test_a_variable_the_pool_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'imge'"):
        _made(imge="x")


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"cpu": "much"}, r"resources\.limits\.cpu"),
        ({"memory": "64Gi"}, "resources"),
        ({"env": {"CPLN_TOKEN": "x"}}, "CPLN_TOKEN"),
        ({"image": "two words"}, "image"),
        ({"service_account_name": "/wrong"}, "serviceAccountName"),
    ],
)
def test_a_value_the_platform_does_not_take_is_found_before_any_request(variables, path) -> None:
    with pytest.raises(ManifestError, match=path):
        _plan(**variables)


def test_a_template_of_prefect_cpln_still_works() -> None:
    template = CplnWorker.get_default_base_job_template()
    pod = {
        "parallelism": 1,
        "completions": 1,
        "restartPolicy": "Never",
        "serviceAccountName": "{{ service_account_name }}",
        "containers": [
            {
                "name": "prefect-job",
                "env": "{{ env }}",
                "image": "{{ image }}",
                "args": "{{ command }}",
            }
        ],
    }
    template["job_configuration"]["job_manifest"] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "labels": "{{ labels }}",
            "namespace": "{{ namespace }}",
            "generateName": "{{ name }}-",
        },
        "spec": {"ttlSecondsAfterFinished": "{{ finished_job_ttl }}", "template": {"spec": pod}},
    }
    plan = _plan(
        template=template,
        image="flows:1",
        namespace="dev",
        finished_job_ttl=60,
        env={"A": "1"},
        labels={"t": "x"},
    )
    assert plan.manifest.main.args == ("prefect", "flow-run", "execute")
    assert plan.manifest.main.env["A"] == "1"
    assert _plan(template=template).manifest.main.image.startswith("prefecthq/prefect:")


def test_a_native_template_works() -> None:
    template = CplnWorker.get_default_base_job_template()
    main = {
        "name": "flow",
        "image": "{{ image }}",
        "args": "{{ command }}",
        "env": "{{ env }}",
        "cpu": "{{ cpu }}",
    }
    template["job_configuration"]["job_manifest"] = {
        "kind": "workload",
        "spec": {
            "type": "cron",
            "containers": [{**main, "memory": "{{ memory }}"}],
            "identityLink": "{{ service_account_name }}",
        },
    }
    plan = _plan(
        template=template,
        image="flows:1",
        env={"A": "1"},
        service_account_name="//gvc/dev/identity/runner",
    )
    assert (plan.manifest.main.cpu, plan.manifest.main.memory) == ("250m", "512Mi")
    assert plan.manifest.main.env["A"] == "1"
    assert plan.manifest.identity == "//gvc/dev/identity/runner"


def test_a_template_that_knows_only_the_manifest_gets_defaults_for_the_rest() -> None:
    template = CplnWorker.get_default_base_job_template()
    manifest = template["job_configuration"]["job_manifest"]
    template["job_configuration"] = {"job_manifest": manifest}
    made = _made(template=template)
    assert (made.stream_output, made.pod_watch_timeout_seconds) == (True, None)


def _of_template(**container):
    """A pool's template whose main container says something of its own."""
    template = CplnWorker.get_default_base_job_template()
    template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"][0] |= (
        container
    )
    return template


def _main_of(template, **variables):
    configuration = _made(template, **variables)
    return configuration.plan(JobIdentity.anonymous(), GvcRef("acme", "dev"), "here").manifest.main


AUTHORS = [
    {"name": "PREFECT_API_KEY", "value": "cpln://secret/prefect.KEY"},
    {"name": "PREFECT_API_URL", "value": "http://inner/api"},
]


@pytest.mark.parametrize("form", ["list", "object"])
def test_template_beats_settings_that_travel(form) -> None:
    env = AUTHORS if form == "list" else {entry["name"]: entry["value"] for entry in AUTHORS}
    with temporary_settings({PREFECT_API_KEY: "key-in-clear", PREFECT_API_URL: "http://outer/api"}):
        main = _main_of(_of_template(env=env))
        assert {name: main.env[name] for name in ("PREFECT_API_KEY", "PREFECT_API_URL")} == {
            entry["name"]: entry["value"] for entry in AUTHORS
        }
        chosen = _main_of(_of_template(env=env), env={"PREFECT_API_URL": "http://own/api"})
    assert (chosen.env["PREFECT_API_URL"], chosen.env["PREFECT_API_KEY"]) == (
        "http://own/api",
        "cpln://secret/prefect.KEY",
    )


def test_template_does_not_beat_identity_of_run() -> None:
    main = _main_of(_of_template(env=[{"name": "PREFECT__FLOW_RUN_ID", "value": "another"}]))
    assert main.env["PREFECT__FLOW_RUN_ID"] != "another"


@pytest.mark.parametrize(
    ("args", "variables", "found"),
    [
        (["pip install x && {{ command }}"], {}, "pip install x && prefect flow-run execute"),
        (["{{ command }}"], {}, "prefect flow-run execute"),
        (["{{command}} --x"], {"command": "python y.py"}, "python y.py --x"),
        (["{{ command }}"], {"command": "  "}, "prefect flow-run execute"),
        (["run {{ image }}"], {"image": "b:1"}, "run b:1"),
    ],
)
def test_placeholder_inside_text_is_filled(args, variables, found) -> None:
    main = _main_of(_of_template(command=["/bin/sh", "-c"], args=args), **variables)
    assert (main.command, main.args) == ("/bin/sh", ("-c", found))


def test_default_of_pool_fills_placeholder() -> None:
    template = _of_template(args=["--cpu={{ cpu }}"], command=["x"])
    assert _main_of(template).args == ("--cpu=250m",)


def test_placeholder_without_value_is_refused_with_its_path() -> None:
    template = _of_template(args=["--to={{ service_account_name }}", "{{ nobody }}"])
    with pytest.raises(
        ConfigurationError,
        match=r"containers\[0\]\.args\[0\].*\{\{ service_account_name \}\} has no value",
    ) as error:
        _made(template)
    assert "containers[0].args[1]: the placeholder {{ nobody }}" in str(error.value)


@pytest.mark.parametrize("command", ["", "  ", None])
def test_empty_command_is_no_command(command) -> None:
    assert _main_of(None, command=command).args == ("prefect", "flow-run", "execute")


@pytest.mark.parametrize("manifest", ["{{ job_manifest }}", None])
def test_template_without_manifest_gets_default(manifest) -> None:
    """The base job template of prefect-cpln's own worker has only a placeholder for it."""
    template = CplnWorker.get_default_base_job_template()
    names = ("cpu", "memory", "finished_job_ttl")
    template["variables"]["properties"] = {
        k: v for k, v in template["variables"]["properties"].items() if k not in names
    }
    template["job_configuration"]["job_manifest"] = manifest
    if manifest is None:
        del template["job_configuration"]["job_manifest"]
    main = _main_of(template, image="b:1", env={"A": "1"})
    assert (main.image, main.args, main.env["A"]) == (
        "b:1",
        ("prefect", "flow-run", "execute"),
        "1",
    )
    assert (main.cpu, main.memory) == ("500m", "512Mi")


def _variable(value):
    return _of_template(env=[{"name": "X", "value": value}])


@pytest.mark.parametrize(
    ("value", "variables", "found"),
    [
        pytest.param("{{ name }}", {}, RUN.name, id="name-of-the-run"),
        pytest.param("run-{{ name }}", {"name": "mine"}, "run-mine", id="name-that-was-given"),
        pytest.param("{{ org }}/{{ namespace }}", {}, "acme/dev", id="place-of-the-worker"),
        pytest.param("{{ namespace }}", {"namespace": "prod"}, "prod", id="place-of-the-pool"),
    ],
)
def test_value_that_is_known_late_is_filled(value, variables, found) -> None:
    assert _main_of(_variable(value), **variables).env["X"] == found


def test_variable_of_the_workers_environment_fills_placeholder(monkeypatch) -> None:
    monkeypatch.setenv("STAGE", "prod")
    assert _main_of(_variable("{{ $STAGE }}-x")).env["X"] == "prod-x"


def test_value_within_an_object_fills_placeholder() -> None:
    template = _variable("in {{ options.region }}")
    template["variables"]["properties"]["options"] = {"type": "object"}
    assert _main_of(template, options={"region": "north"}).env["X"] == "in north"


def test_empty_text_of_ones_own_variable_is_a_text() -> None:
    template = _variable("{{ prefix }}app")
    template["variables"]["properties"]["prefix"] = {"type": "string", "default": "old-"}
    assert _main_of(template, prefix="").env["X"] == "app"


@pytest.mark.parametrize(
    "value", ["{{ $NO_SUCH_VARIABLE }}", "{{ service_account_name }}", "{{ imgae }}", "{{ a.b }}"]
)
def test_variable_that_would_be_empty_is_refused(value) -> None:
    with pytest.raises(
        ConfigurationError, match=r"containers\[0\]\.env\[0\]\.value: .*placeholder"
    ):
        _made(_variable(value))


def test_placeholder_of_no_variable_is_refused() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"containers\[0\]\.image: .*\{\{ imgae \}\} names no variable of the pool",
    ):
        _made(_of_template(image="{{ imgae }}"))


@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_variable_is_none(blank) -> None:
    main = _main_of(None, image=blank, cpu=blank, memory=blank, service_account_name=blank)
    assert (main.image, main.cpu, main.memory) == (get_prefect_image_name(), "250m", "512Mi")


def test_blank_default_is_none() -> None:
    template = CplnWorker.get_default_base_job_template()
    for name in ("image", "cpu", "command"):
        template["variables"]["properties"][name]["default"] = " "
    main = _main_of(template)
    assert (main.image, main.cpu, main.args) == (
        get_prefect_image_name(),
        "500m",
        ("prefect", "flow-run", "execute"),
    )


@pytest.mark.parametrize(
    "fields", [{"args": []}, {"command": []}, {"command": "", "args": " "}, {"image": ""}]
)
def test_empty_field_of_template_is_none(fields) -> None:
    main = _main_of(_of_template(**fields))
    assert (main.image, main.args) == (get_prefect_image_name(), ("prefect", "flow-run", "execute"))


@pytest.mark.parametrize(
    ("amounts", "found"),
    [
        ({}, ("500m", "512Mi")),
        ({"cpu": "1"}, ("1000m", "512Mi")),
        ({"memory": "8Gi"}, ("1024m", "8192Mi")),
    ],
)
def test_native_pool_gets_amounts_that_prefect_needs(amounts, found) -> None:
    template = CplnWorker.get_default_base_job_template()
    container = {"name": "flow", "image": "{{ image }}", "args": "{{ command }}", **amounts}
    template["job_configuration"]["job_manifest"] = {
        "kind": "workload",
        "spec": {"type": "cron", "containers": [container]},
    }
    manifest = _made(template).plan(IDENTITY, GVC, "local-1").manifest
    assert (manifest.main.cpu, manifest.main.memory) == found
    assert found[0] in manifest.notes[0].message


@pytest.mark.parametrize("image", ["prefecthq/prefect:2-latest", " PrefectHQ/prefect-dev:2.0 "])
def test_image_of_prefect_2_is_refused(image) -> None:
    with pytest.raises(
        (ConfigurationError, ManifestError), match=r"has Prefect 2|expected an image"
    ):
        _plan(image=image)
