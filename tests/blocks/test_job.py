import json
import re
import traceback
from dataclasses import replace

import anyio
import pytest
import yaml
from prefect.blocks.abstract import JobBlock, JobRun
from pydantic import ValidationError

from cpln_flows import (
    CplnConfig,
    CplnCredentials,
    CplnJob,
    CplnJobRun,
    JobCancelledError,
    JobFailedError,
    ManifestError,
    run_namespaced_job,
    stream_logs,
)
from cpln_flows.emulator import Fault, Platform, PlatformConfig
from cpln_flows.errors import ConfigurationError, JobTimeoutError
from cpln_flows.orchestration import JobIdentity
from tests.manifests import FAILING, FOREVER, LINES, changed, kubernetes_job, texts

CANARY = "s.canary-job-0123456789"
GIVEN = {"org": "acme", "namespace": "dev", "v1_job": kubernetes_job(LINES)}


def test_names_fields_and_defaults_are_those_of_prefect_cpln() -> None:
    job = CplnJob(**GIVEN)
    assert (CplnJob.get_block_type_slug(), CplnJob.get_block_type_name()) == (
        "cpln-job",
        "Control Plane Job",
    )
    assert isinstance(job, JobBlock)
    assert (job.delete_after_completion, job.interval_seconds, job.timeout_seconds) == (
        True,
        5,
        None,
    )


def test_org_gvc_and_location_come_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_ORG", "acme")
    monkeypatch.setenv("CPLN_GVC", "dev")
    monkeypatch.setenv("CPLN_LOCATION", "/org/acme/location/aws-eu-central-1")
    job = CplnJob(v1_job=kubernetes_job(LINES))
    assert (job.org, job.namespace, job.location) == ("acme", "dev", "aws-eu-central-1")


def test_a_field_beats_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_ORG", "other")
    job = CplnJob(**GIVEN, location="/org/acme/location/aws-us")
    assert (job.org, job.location) == ("acme", "aws-us")


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        pytest.param({"namespace": "dev"}, "CPLN_ORG", id="no-org"),
        pytest.param({"org": "acme"}, "CPLN_GVC", id="no-gvc"),
        pytest.param({"org": " ", "namespace": "dev"}, "org", id="an-empty-org"),
        pytest.param(
            {"org": "acme", "namespace": "dev", "interval_seconds": 0},
            "interval_seconds",
            id="no-interval",
        ),
        pytest.param(
            {"org": "acme", "namespace": "dev", "timeout_seconds": -1},
            "timeout_seconds",
            id="a-negative-timeout",
        ),
    ],
)
def test_a_wrong_field_is_named(fields, names) -> None:
    with pytest.raises((ConfigurationError, ValidationError), match=names):
        CplnJob(v1_job=kubernetes_job(LINES), **fields)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param(
            {"org": "//gvc/x"},
            "org: expected a name such as acme, or a link such as /org/acme, found '//gvc/x'",
            id="org",
        ),
        pytest.param(
            {"namespace": "/org/b/gvc/dev"},
            "namespace: '/org/b/gvc/dev' is in .*'b', and .* 'acme': .*",
            id="another-org",
        ),
        pytest.param(
            {"location": "/org/acme"},
            "location: expected a name such as aws-eu-central-1, or a link .*",
            id="location",
        ),
        pytest.param(
            {"timeout_seconds": "ten"},
            "timeout_seconds: expected a valid number, found 'ten'",
            id="no-number",
        ),
        pytest.param(
            {"interval_seconds": 0},
            "interval_seconds: expected a value greater than 0, found 0",
            id="bound",
        ),
        pytest.param(
            {"v1_job": CANARY},
            "v1_job: expected a valid dictionary, found a value of type str",
            id="manifest",
        ),
        pytest.param(
            {"timeout_second": 5},
            r"timeout_second: is not a field; did you mean 'timeout_seconds'\?",
            id="typo",
        ),
        pytest.param(
            {"credentials": {"config": {"token": [CANARY]}}},
            "credentials.config.token: expected a valid string, found a value of type list",
            id="token",
        ),
        pytest.param(
            {"credentials": CANARY},
            "credentials: expected .*CplnCredentials, found a value of type str",
            id="no-block",
        ),
    ],
)
def test_wrong_field_is_one_sentence_without_secrets(fields, says) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CplnJob(**GIVEN | fields)
    assert re.fullmatch(f"CplnJob: {says}", str(caught.value)), caught.value
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY not in shown
    assert "errors.pydantic.dev" not in shown


def test_wrong_token_is_not_shown() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^CplnConfig: token: expected a valid string, found a value of type list$",
    ):
        CplnConfig(token=[CANARY])


def test_links_are_taken_for_names(monkeypatch) -> None:
    links = {"org": "/org/acme", "namespace": "/org/acme/gvc/dev", "location": "//location/aws-us"}
    job = CplnJob(v1_job={}, **links)
    assert (job.org, job.namespace, job.location) == ("acme", "dev", "aws-us")
    assert CplnJob(v1_job={}, namespace="/org/acme/gvc/dev").org == "acme", (
        "the link says it where nothing else does"
    )
    monkeypatch.setenv("CPLN_ORG", "b")
    with pytest.raises(ConfigurationError, match="'acme', and the organization given is 'b'"):
        CplnJob(v1_job={}, namespace="/org/acme/gvc/dev")


def test_stored_block_that_is_wrong_stays_pydantics_to_judge() -> None:
    """Prefect makes something of it: it can load a block without validation."""
    with pytest.raises(ValidationError):
        CplnJob.model_validate({**GIVEN, "org": "a b"})


def test_a_manifest_is_read_from_a_file(tmp_path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(kubernetes_job(LINES)))
    assert CplnJob.from_yaml_file(path, org="acme", namespace="dev").v1_job == kubernetes_job(LINES)


@pytest.mark.parametrize(
    ("text", "says"), [("a: [", "line 1"), ("- 1", "a list"), ("a: 1\n---\nb: 2", "2 documents")]
)
def test_a_file_that_is_no_manifest_is_named(text, says, tmp_path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=r"job\.yaml") as caught:
        CplnJob.from_yaml_file(path, org="acme", namespace="dev")
    assert says in str(caught.value)


def test_a_preview_shows_the_workload_and_asks_nobody() -> None:
    body = CplnJob(**GIVEN).preview()
    assert body["kind"] == "workload"
    assert body["spec"]["type"] == "cron"
    assert body["name"].startswith("test-job-")
    assert body["spec"]["firewallConfig"]["external"]["outboundAllowCIDR"] == ["0.0.0.0/0"]
    assert json.dumps(body)


def test_the_token_is_in_no_text_of_the_block() -> None:
    job = CplnJob(**GIVEN, credentials=CplnCredentials(config=CplnConfig(token=CANARY)))
    assert CANARY not in f"{job!r} {job} {job.model_dump()} {job.model_dump_json()}"


def test_a_run_in_sync_code(local) -> None:
    run = CplnJob(v1_job=kubernetes_job(LINES)).trigger()
    assert isinstance(run, CplnJobRun)
    assert isinstance(run, JobRun)
    with pytest.raises(ValueError, match="wait_for_completion"):
        run.fetch_result()
    lines: list[str] = []
    run.wait_for_completion(lines.append)
    assert texts(run.fetch_result()) == [f"line {n}" for n in range(5)]
    assert run.logs == lines
    assert (
        run.infrastructure_pid
        == f"local:quickstart:{run.infrastructure_pid.split(':')[2]}:{run.command_id}"
    )
    assert run.console_url.endswith(run.infrastructure_pid.split(":")[2])
    assert run.command_id in repr(run)


def test_a_run_in_async_code(local) -> None:
    async def main() -> str:
        run = await CplnJob(v1_job=kubernetes_job(LINES)).trigger()
        await run.wait_for_completion()
        return await run.fetch_result()

    assert len(texts(anyio.run(main))) == 5


def test_two_runs_of_one_block_are_two_jobs(local) -> None:
    job = CplnJob(v1_job=kubernetes_job("print(1)"))
    first, second = job.trigger(), job.trigger()
    assert first.command_id != second.command_id
    for run in (first, second):
        run.wait_for_completion()


def test_a_run_can_be_cancelled(local) -> None:
    run = CplnJob(v1_job=kubernetes_job(FOREVER)).trigger()
    run.cancel()
    assert local.platform.active_jobs == []
    assert local.platform.workloads() == []


def test_a_run_of_a_shared_workload_leaves_it_when_cancelled(local) -> None:
    run = CplnJob(v1_job=kubernetes_job(FOREVER), delete_after_completion=False).trigger()
    run.cancel()
    assert local.platform.active_jobs == []
    assert len(local.platform.workloads()) == 1


def test_the_end_of_a_stop_may_be_called_cancelled_too(local) -> None:
    local.platform.switch(final_stage_after_stop="cancelled")
    run = CplnJob(v1_job=kubernetes_job(FOREVER), delete_after_completion=False).trigger()
    other = CplnJobRun(run._block, run._identity)
    other._run = replace(run._run)
    other.cancel()
    with pytest.raises(JobCancelledError):
        run.wait_for_completion()


def test_a_run_that_was_not_started_says_so() -> None:
    from cpln_flows.orchestration import JobIdentity

    run = CplnJobRun(CplnJob(**GIVEN), JobIdentity.anonymous())
    assert (run.infrastructure_pid, run.command_id, run.console_url) == (None, None, None)
    assert "not started" in repr(run)
    with pytest.raises(ValueError, match="trigger"):
        run.wait_for_completion()


def test_without_a_location_the_first_of_the_gvc_is_used(local, monkeypatch) -> None:
    monkeypatch.delenv("CPLN_LOCATION")
    run = CplnJob(v1_job=kubernetes_job("print(1)"), delete_after_completion=False).trigger()
    run.wait_for_completion()
    (command,) = local.platform.commands()
    assert command["spec"]["location"] == "local-1"


@pytest.mark.parametrize(
    ("fields", "kind", "says"),
    [
        pytest.param({"org": "other"}, ConfigurationError, "org", id="unknown-org"),
        pytest.param({"namespace": "other"}, ConfigurationError, "namespace", id="unknown-gvc"),
        pytest.param({"location": "mars"}, ConfigurationError, "local-1", id="unknown-location"),
        pytest.param({"v1_job": {"kind": "Pod"}}, ManifestError, "kind", id="unknown-kind"),
    ],
)
def test_what_does_not_exist_is_named_and_nothing_is_left_behind(fields, kind, says, local) -> None:
    with pytest.raises(kind, match=says):
        CplnJob(**{"v1_job": kubernetes_job(LINES), **fields}).trigger()
    assert local.platform.workloads() == []
    assert local.platform.jobs_started == 0


@pytest.mark.parametrize(
    "local",
    [lambda: Platform(PlatformConfig(ready_delay_seconds=60, delete_delay_seconds=0))],
    indirect=True,
)
def test_a_workload_that_does_not_get_ready_is_an_error_that_says_so(local, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_READY_TIMEOUT", "0.3")
    with pytest.raises(
        JobTimeoutError,
        match=r"did not become ready at local-1 within 0.3 s: (?!it reports nothing)[^;]+;",
    ):
        CplnJob(v1_job=kubernetes_job(LINES)).trigger()
    assert local.platform.workloads() == []


def test_a_failing_clean_up_is_a_note_on_the_jobs_own_error_and_not_instead_of_it(
    local, monkeypatch, caplog
) -> None:
    monkeypatch.setenv("CPLN_RETRY_SECONDS", "0")
    local.platform.faults.add(
        Fault(method="DELETE", path=".*", status=403, message="no", times=None)
    )
    run = CplnJob(v1_job=kubernetes_job(FAILING)).trigger()
    with pytest.raises(JobFailedError) as caught:
        run.wait_for_completion()
    assert caught.value.exit_code == 3
    (note,) = caught.value.__notes__
    assert run.infrastructure_pid.split(":")[2] in note
    assert "403" in note


class Awaited:
    async def __call__(self, line: str) -> None: ...


async def _awaited(line: str) -> None: ...


@pytest.mark.parametrize("print_func", [_awaited, Awaited()], ids=["function", "object"])
def test_a_print_function_that_would_have_to_be_awaited_is_refused_before_anything_is_started(
    print_func, local
) -> None:
    with pytest.raises(ConfigurationError, match="print_func: expected a plain function"):
        run_namespaced_job.fn(CplnJob(v1_job=kubernetes_job(LINES)), print_func).send(None)
    with pytest.raises(ConfigurationError, match="print_func: expected a plain function"):
        stream_logs.fn("job", print_func).send(None)
    assert local.platform.requests == []


def test_a_container_whose_log_is_wanted_must_be_there(local) -> None:
    with pytest.raises(
        ConfigurationError,
        match="log_containers: the manifest has no container 'side'; it has main",
    ):
        CplnJob(v1_job=kubernetes_job(LINES), log_containers=["main", "side"]).trigger()
    assert local.platform.requests == []


def test_a_run_without_connections_leaves_none_half_open(local, monkeypatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    for _ in range(2):
        with pytest.raises(
            ConfigurationError, match="proxy that the environment names cannot be used"
        ):
            CplnJob(v1_job=kubernetes_job(LINES), location="local-1").trigger()


def test_live_schedule_gets_no_second_one() -> None:
    container = {"name": "main", "image": "busybox"}
    spec = {
        "type": "cron",
        "containers": [container],
        "job": {"schedule": "0 3 * * *"},
        "defaultOptions": {"suspend": False},
    }
    job = CplnJob(
        **{**GIVEN, "v1_job": {"kind": "workload", "name": "nightly", "spec": spec}},
        delete_after_completion=False,
    )
    assert job.preview()["spec"]["defaultOptions"]["suspend"] is True
    (note,) = job.plan(JobIdentity.anonymous(), "local-1").manifest.notes
    assert note.path == "spec.job.schedule"
    assert "'0 3 * * *' is left out: this copy runs once" in note.message


def _with_selector(**fields) -> CplnJob:
    manifest = changed(kubernetes_job("pass"), ("spec.template.spec.nodeSelector", {"disk": "ssd"}))
    return CplnJob(**{**GIVEN, "v1_job": manifest, **fields})


def test_preview_has_the_notes_of_the_conversion() -> None:
    preview = _with_selector().preview()
    assert preview["kind"] == "workload"
    assert any(
        note.startswith("spec.template.spec.nodeSelector: has no effect") for note in preview.notes
    )


def test_strict_job_refuses_what_would_be_noted() -> None:
    with pytest.raises(ManifestError) as caught:
        _with_selector(strict=True).preview()
    assert "spec.template.spec.nodeSelector" in {fault.path for fault in caught.value.faults}


def test_fault_of_a_file_has_its_line_and_column(tmp_path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        yaml.safe_dump(
            changed(kubernetes_job("pass"), ("spec.template.spec.hostNetwork", True)),
            sort_keys=False,
        )
    )
    with pytest.raises(
        ManifestError, match=rf"{path}:\d+:7 spec\.template\.spec\.hostNetwork: expected false"
    ):
        CplnJob.from_yaml_file(
            path, **{name: value for name, value in GIVEN.items() if name != "v1_job"}
        )
