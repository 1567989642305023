"""`cpln-flows plan`: what a run would make and use, without making it."""

import json

import pytest
import yaml

from cpln_flows import CplnJob, cli, run_namespaced_job
from tests.manifests import changed, kubernetes_job

MAIN = "spec.template.spec.containers[0]"
SECRET = (
    f"{MAIN}.env",
    [{"name": "PW", "value": "cpln://secret/keys.PW"}, {"name": "PLAIN", "value": "hush-hush"}],
)


@pytest.fixture
def planned(local, tmp_path, capsys):
    """Run the command for a manifest; returns its exit code and what it printed."""

    def run(manifest, **options) -> tuple[int, str, str]:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(manifest))
        capsys.readouterr()
        code = cli.plan(path, **options)
        return code, *capsys.readouterr()

    return run


def test_plan_shows_what_a_run_would_make(planned, local) -> None:
    code, shown, _ = planned(
        changed(kubernetes_job("pass"), ("spec.template.spec.nodeSelector", {"a": "b"}))
    )
    assert code == 0
    assert "is made; is deleted after the job" in " ".join(shown.split())
    assert "spec.template.spec.nodeSelector: has no effect" in shown
    assert local.platform.workloads() == []


def test_missing_secret_is_said_and_is_the_exit_code(planned) -> None:
    code, shown, _ = planned(changed(kubernetes_job("pass"), SECRET))
    assert code == 1
    assert "does NOT exist: create it" in " ".join(shown.split())
    assert "is made, with a policy for these secrets" in " ".join(shown.split())


def test_missing_volumeset_is_said_and_is_the_exit_code(planned) -> None:
    volumes = (
        "spec.template.spec.volumes",
        [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    mounts = (f"{MAIN}.volumeMounts", [{"name": "v", "mountPath": "/data"}])
    code, shown, _ = planned(changed(kubernetes_job("pass"), volumes, mounts), json=True)
    assert (code, json.loads(shown)["volumesets"]) == (1, {"data": False})


def test_json_has_everything_and_no_value_in_clear(planned) -> None:
    code, shown, _ = planned(changed(kubernetes_job("print('hush-hush')"), SECRET), json=True)
    found = json.loads(shown)
    assert (code, found["exists"], found["shared"], found["secrets"]) == (
        1,
        False,
        False,
        {"keys": False},
    )
    assert found["manifest"]["kind"] == "workload"
    assert "cpln://secret/keys.PW" in shown
    assert "hush-hush" not in shown


def test_offline_plan_asks_for_nothing(planned, local) -> None:
    before = len(local.platform.requests)
    code, shown, _ = planned(changed(kubernetes_job("pass"), SECRET), offline=True)
    assert code == 0
    assert "not looked up" in shown
    assert len(local.platform.requests) == before


@pytest.mark.usefixtures("prefect_api")
def test_shared_plan_says_what_has_changed(planned, local) -> None:
    first = changed(kubernetes_job("pass"), (f"{MAIN}.workingDir", "/usr"))
    run_namespaced_job(CplnJob(v1_job=first, delete_after_completion=False))
    code, shown, _ = planned(first, shared=True)
    assert code == 0
    assert "No difference from the workload as it is." in shown
    _, shown, _ = planned(changed(first, (f"{MAIN}.workingDir", "/var")), shared=True)
    assert "is made; stays, for jobs of this specification" in " ".join(shown.split())
    _, shown, _ = planned(changed(first, (f"{MAIN}.workingDir", "/var")), shared=True, json=True)
    assert [one["field"] for one in json.loads(shown)["differences"]] == [
        "spec.containers[main].workingDir"
    ]


def test_wrong_manifest_is_said_with_its_place(planned) -> None:
    code, _, said = planned(
        changed(kubernetes_job("pass"), ("spec.template.spec.hostNetwork", True))
    )
    assert code == 1
    assert "job.yaml:" in said
    assert "hostNetwork: expected false" in said


def test_missing_token_says_how_to_do_without(planned, monkeypatch) -> None:
    monkeypatch.delenv("CPLN_TOKEN")
    code, _, said = planned(kubernetes_job("pass"))
    assert code == 1
    assert "--offline" in said
