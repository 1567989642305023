"""The generated policies are enough for every feature, and nothing in them is too much."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from cpln_flows import CplnJob, cli, run_namespaced_job
from cpln_flows.errors import CplnError, ManifestError
from cpln_flows.provision import grants, permissions, report
from cpln_flows.provision.grants import Names
from cpln_flows.provision.permissions import NEEDS, Feature, Need, Target
from tests.contract.vendor_cli import install
from tests.manifests import kubernetes_job, native_job, texts
from tests.scenarios import features
from tests.scenarios.features import LINES, PLAYS, Player
from tests.scenarios.permissions import Installation, installation

GROUP = {Feature.SYNC: pytest.mark.xdist_group("prefect")}  # sync alone talks to Prefect's server
CRON = {"job": {"schedule": "* * * * *"}, "defaultOptions": {"suspend": True}}
ELSEWHERE = "/org/local/gvc/elsewhere"


def _param(feature: Feature, value: Feature | Need, name: str):
    return pytest.param(value, marks=GROUP.get(feature, ()), id=name)


FEATURES = [_param(feature, feature, feature) for feature in Feature]
MAINTENANCE = [_param(feature, feature, feature) for feature in (Feature.SYNC, Feature.CLEANUP)]
EACH = [_param(need.feature, need, need.id) for need in NEEDS]


@pytest.fixture(autouse=True)
def prefect_server(request: pytest.FixtureRequest) -> None:
    found = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    need = found.get("need")
    if Feature.SYNC in (found.get("feature"), need and need.feature):
        request.getfixturevalue("prefect_api")


def _play(feature: Feature, there: Installation, token: str | None = None) -> None:
    """Play a feature with a new key; a request that was refused is a failure."""
    play = PLAYS[feature]
    anyio.run(play.act, Player(there, token or there.key(play.account)))
    assert there.refusals == []
    answers = {request.status for request in there.local.platform.requests}
    assert not answers & {401, 403}


def _installed(feature: Feature, monkeypatch, without: Need | None = None, **more):
    play = PLAYS[feature]
    return installation(
        permissions.of(feature, *play.beside),
        monkeypatch,
        script=features.script,
        without=without,
        hours_behind=play.hours_behind,
        **more,
    )


@pytest.mark.parametrize("hidden_status", [403, 404], ids=["refused", "hidden"])
@pytest.mark.parametrize("feature", FEATURES)
def test_generated_documents_are_enough_for_the_feature(
    feature, hidden_status, monkeypatch
) -> None:
    """Also where the platform hides what may not be seen, so that a 403 would go unnoticed."""
    with _installed(feature, monkeypatch, hidden_status=hidden_status) as there:
        _play(feature, there)


@pytest.mark.parametrize("need", EACH)
def test_without_one_permission_the_feature_breaks(need, monkeypatch) -> None:
    """What the permission implies stays, so that nothing smaller would be enough."""
    with _installed(need.feature, monkeypatch, without=need) as there:
        with pytest.raises((CplnError, AssertionError, httpx.HTTPStatusError)) as caught:
            _play(need.feature, there)
        named = f'requires permission "{need.permission}"' in str(caught.value)
        refused = (need.kind, need.permission) in there.refusals or named
        assert refused is not need.filters, caught.value


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        pytest.param("secrets-secret-view", "secret 'others'", id="secret"),
        pytest.param("jobs-volumeset-view", "volumeset 'data'", id="volumeset"),
    ],
)
def test_unseen_object_counts_as_missing_if_hidden(name, missing, monkeypatch) -> None:
    """What these two are for: where the platform answers 403, the job starts without the check."""
    (need,) = [need for need in NEEDS if need.id == name]
    with (
        _installed(need.feature, monkeypatch, without=need, hidden_status=404) as there,
        pytest.raises(ManifestError, match=f"there is no {missing}"),
    ):
        _play(need.feature, there)


def test_cleanup_needs_to_see_other_gvcs(monkeypatch) -> None:
    """Why its view of workloads is not limited to the GVC."""
    needs = [
        replace(need, target=Target.IN_GVC) if need.target is Target.ALL else need
        for need in permissions.of(Feature.CLEANUP)
    ]
    with installation(needs, monkeypatch, script=features.script, hours_behind=200) as there:
        with pytest.raises(AssertionError):
            _play(Feature.CLEANUP, there)
        assert there.local.platform.objects("secret") == []


@pytest.mark.parametrize("feature", MAINTENANCE)
def test_maintenance_needs_its_identity_and_no_key(feature, monkeypatch) -> None:
    name = {Feature.SYNC: grants.SYNC, Feature.CLEANUP: grants.CLEANUP}[feature]
    with _installed(feature, monkeypatch, one_key=False) as there:
        _play(feature, there, f"s.{name}")


@pytest.mark.xdist_group("prefect")
def test_standard_policies_are_enough_for_an_installation(monkeypatch, prefect_api) -> None:
    needs = permissions.of(*permissions.STANDARD)
    with installation(needs, monkeypatch, script=features.script) as there:
        key = there.key(grants.WORKER)
        job = CplnJob(
            v1_job=kubernetes_job("pass"),
            credentials=there.credentials(key),
            org="local",
            namespace="quickstart",
        )
        assert texts(run_namespaced_job(job)) == LINES
        for feature in (Feature.JOBS, Feature.LOGS, Feature.WORKER, Feature.SYNC, Feature.SECRETS):
            _play(feature, there, key)


@pytest.mark.parametrize("feature", [one for one in Feature if one is not Feature.CLEANUP])
def test_objects_of_another_gvc_are_out_of_reach(feature, monkeypatch) -> None:
    with _installed(feature, monkeypatch) as there:
        _put_elsewhere(there)
        with _as(there, there.key(PLAYS[feature].account)) as client:
            assert _statuses(client) == [403] * len(REQUESTS)


def test_cleanup_deletes_nothing_of_another_gvc(monkeypatch) -> None:
    with _installed(Feature.CLEANUP, monkeypatch) as there:
        _put_elsewhere(there)
        with _as(there, there.key(grants.WORKER)) as client:
            assert _statuses(client) == [200] * 2 + [403] * (len(REQUESTS) - 2)


RUN = {"type": "runCronWorkload", "spec": {"location": "local-1"}}
BODY = native_job(**CRON) | {"name": "theirs"}
REQUESTS = [
    ("GET", f"{ELSEWHERE}/workload/theirs", None),
    ("GET", f"{ELSEWHERE}/workload/theirs/deployment", None),
    ("DELETE", f"{ELSEWHERE}/workload/theirs", None),
    ("PUT", f"{ELSEWHERE}/workload", BODY | {"description": "changed"}),
    ("POST", f"{ELSEWHERE}/workload", BODY | {"name": "ours"}),
    ("POST", f"{ELSEWHERE}/workload/theirs/-command", RUN),
    ("GET", ELSEWHERE, None),
    ("GET", f"{ELSEWHERE}/identity/theirs", None),
    ("PUT", f"{ELSEWHERE}/identity", {"name": "ours"}),
    ("DELETE", f"{ELSEWHERE}/identity/theirs", None),
    ("GET", "/org/local/secret/theirs/-reveal", None),
    ("DELETE", "/org/local/secret/theirs", None),
    ("DELETE", "/org/local/policy/theirs", None),
]


def _as(there: Installation, key: str) -> httpx.Client:
    return httpx.Client(base_url=there.local.url, headers={"authorization": key})


def _statuses(client: httpx.Client) -> list[int]:
    return [client.request(method, path, json=body).status_code for method, path, body in REQUESTS]


def _put_elsewhere(there: Installation) -> None:
    there.put(f"{ELSEWHERE}/workload", **BODY)
    there.put(f"{ELSEWHERE}/identity", name="theirs")
    there.put("/org/local/secret", name="theirs", type="dictionary", data={"A": "1"})
    there.put(
        "/org/local/policy",
        name="theirs",
        targetKind="secret",
        targetLinks=["//secret/theirs"],
        bindings=[],
    )


@pytest.mark.xdist_group("vendor-cli")
def test_printed_commands_work_with_vendor_cli(monkeypatch, request, tmp_path, capsys) -> None:
    """From nothing to a key with which a worker is ready: only the key is copied by hand."""
    program = install(request.config)
    monkeypatch.chdir(tmp_path)
    with installation((), monkeypatch, script=features.script) as there:
        monkeypatch.setenv("CPLN_TOKEN", "s.root")
        monkeypatch.setenv("CPLN_HOME", str(tmp_path))
        monkeypatch.setenv("CPLN_SKIP_UPDATE_CHECK", "1")
        names = Names("local", "quickstart")
        needs = permissions.of(*permissions.STANDARD)
        own, apply, add_key, _, secret = map(shlex.split, report.commands(needs, names))
        assert cli.app(own[1 : own.index(">")], result_action="return_value") == 0
        Path(own[-1]).write_text(capsys.readouterr().out)

        def run(command: list[str], *more: str) -> str:
            assert command[0] == "cpln"
            done = subprocess.run(
                [str(program), *command[1:], *more], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        made = run(apply)
        assert made.count("Created") == len(grants.documents(needs, names))
        key = json.loads(run(add_key, "--output", "json"))["key"]
        Path("key.txt").write_text(key)
        run(secret)
        monkeypatch.delenv("CPLN_TOKEN")
        for feature in (Feature.JOBS, Feature.WORKER):
            _play(feature, there, key)
