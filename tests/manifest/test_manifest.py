import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.manifest import OPEN_OUTBOUND, ContainerSpec, JobManifest, spec_hash
from tests.manifest.manifest_values import jobs_of_one_hash, variables

MAIN = ContainerSpec("main", "a:1", "python", ("-V",), {"A": "1"}, "100m", "128Mi")
SIDE = ContainerSpec("side", "b:1")
JOB = JobManifest((MAIN, SIDE), name="etl", tags={"team": "data"}, restart_policy="OnFailure")
CRON = replace(JOB, job_type="cron", schedule="0 3 * * *")


def _main(**fields: Any) -> JobManifest:
    return replace(JOB, containers=(replace(MAIN, **fields), SIDE))


def _merged(container: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """What the platform runs: the fields of the override win, variables are merged by name."""
    variables = {
        entry["name"]: entry["value"]
        for entry in (*container.get("env", ()), *override.get("env", ()))
    }
    return {**container, **override, "env": variables}


def _asked_for(container: ContainerSpec) -> dict[str, Any]:
    found = {
        "name": container.name,
        "image": container.image,
        "env": dict(container.env),
        **container.extra,
    }
    given_ones = {"command": container.command, "cpu": container.cpu, "memory": container.memory}
    if container.args or container.command is not None:
        found["args"] = list(container.args)
    return found | {key: value for key, value in given_ones.items() if value is not None}


def _with_defaults(container: dict[str, Any]) -> dict[str, Any]:
    return {"cpu": "50m", "memory": "128Mi", **container}


@given(jobs_of_one_hash())
def test_what_a_command_overrides_is_not_in_the_hash(jobs) -> None:
    first, second = jobs
    assert spec_hash(first) == spec_hash(second)


@given(jobs_of_one_hash())
def test_a_job_on_a_workload_that_another_has_made_gets_exactly_what_it_asked_for(jobs) -> None:
    maker, job = jobs
    made = maker.workload(name="w", tags={}, shared=True)["spec"]["containers"]
    run = [
        _merged(container, override)
        for container, override in zip(made, job.overrides(), strict=True)
    ]
    assert [_with_defaults(container) for container in run] == [
        _with_defaults(_asked_for(c)) for c in job.containers
    ]


@given(jobs_of_one_hash(count=1))
def test_a_job_on_a_workload_of_its_own_gets_exactly_what_it_asked_for(jobs) -> None:
    (job,) = jobs
    made = job.workload(name="w", tags={})["spec"]["containers"]
    run = [
        _merged(container, override)
        for container, override in zip(made, job.overrides(), strict=True)
    ]
    assert [_with_defaults(container) for container in run] == [
        _with_defaults(_asked_for(c)) for c in job.containers
    ]


@given(jobs_of_one_hash(count=1), variables())
def test_more_variables_win_in_the_main_container_only(jobs, more) -> None:
    (job,) = jobs
    before, after = job.overrides(), job.overrides(more)
    assert {entry["name"]: entry["value"] for entry in after[0].get("env", ())} == {
        **job.main.env,
        **more,
    }
    assert after[1:] == before[1:]


@given(jobs_of_one_hash())
def test_nothing_of_one_job_is_left_on_a_workload_for_others(jobs) -> None:
    maker, _ = jobs
    body = maker.workload(name="w", tags={"own": "1"}, shared=True)
    assert body["tags"] == {"own": "1"}
    assert "activeDeadlineSeconds" not in body["spec"]["job"]
    for container in body["spec"]["containers"]:
        assert not {"command", "args", "env"} & set(container)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_main(image="c:1"), id="image"),
        pytest.param(_main(command="sh"), id="command"),
        pytest.param(_main(args=("-c",)), id="args"),
        pytest.param(_main(env={"B": "2"}), id="env"),
        pytest.param(_main(cpu="1000m"), id="cpu"),
        pytest.param(_main(memory=None), id="memory"),
        pytest.param(replace(JOB, name="other"), id="name"),
        pytest.param(replace(JOB, tags={"team": "web"}), id="describing-tag"),
        pytest.param(replace(JOB, active_deadline_seconds=60), id="deadline"),
    ],
)
def test_jobs_that_differ_in_what_a_command_brings_share_their_workload(other) -> None:
    assert spec_hash(other) == spec_hash(JOB)


OTHERS = {
    "container-name": replace(JOB, containers=(replace(MAIN, name="other"), SIDE)),
    "another-container": replace(JOB, containers=(MAIN,)),
    "order-of-containers": replace(JOB, containers=(SIDE, MAIN)),
    "working-folder": _main(extra={"workingDir": "/app"}),
    "volumes": _main(extra={"volumes": [{"uri": "scratch://x", "path": "/x"}]}),
    "least-cpu": _main(extra={"minCpu": "25m"}),
    "sidecars-extra": replace(JOB, containers=(MAIN, replace(SIDE, extra={"inheritEnv": True}))),
    "secret": _main(env={"A": "cpln://secret/s.KEY"}),
    "other-secret": _main(env={"A": "cpln://secret/t.KEY"}),
    "identity": replace(JOB, identity="//gvc/dev/identity/x"),
    "description": replace(JOB, description="x"),
    "schedule": replace(JOB, schedule="0 3 * * *"),
    "concurrency": replace(JOB, concurrency_policy="Allow"),
    "history": replace(JOB, history_limit=1),
    "restart-policy": replace(JOB, restart_policy="Never"),
    "firewall": replace(
        JOB, firewall={**OPEN_OUTBOUND, "internal": {"inboundAllowType": "same-gvc"}}
    ),
    "options": replace(JOB, options={"capacityAI": True}),
    "rest": replace(JOB, extra_spec={"rolloutOptions": {"terminationGracePeriodSeconds": 1}}),
    "platforms-tag": replace(JOB, tags={"cpln/relaxMemoryToCpuRatio": "true"}),
    "on-its-own-schedule": replace(JOB, job_type="cron"),
}


def test_jobs_that_differ_in_anything_else_do_not() -> None:
    hashes = {name: spec_hash(job) for name, job in {**OTHERS, "none": JOB}.items()}
    assert len(set(hashes.values())) == len(hashes)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"containers": (replace(MAIN, image="c:1"), SIDE)}, id="image"),
        pytest.param({"containers": (replace(MAIN, args=("x",)), SIDE)}, id="args"),
        pytest.param({"containers": (replace(MAIN, env={"A": "2"}), SIDE)}, id="env"),
        pytest.param({"active_deadline_seconds": 60}, id="deadline"),
        pytest.param({"tags": {"team": "web"}}, id="tags"),
    ],
)
def test_a_job_on_its_own_schedule_has_a_hash_of_all_it_is(changes) -> None:
    assert spec_hash(replace(CRON, **changes)) != spec_hash(CRON)


def test_a_job_on_its_own_schedule_keeps_everything_even_on_a_shared_workload() -> None:
    job = replace(CRON, active_deadline_seconds=60)
    assert job.workload(name="w", tags={}, shared=True) == job.workload(name="w", tags={})
    assert job.workload(name="w", tags={})["spec"]["defaultOptions"]["suspend"] is False


def test_the_hash_changes_only_on_purpose() -> None:
    """Existing workloads are found by the hash.

    Whoever changes what a shared workload holds changes its form, and this line.
    """
    least = JobManifest((ContainerSpec("main", "a:1"),))
    assert spec_hash(least) == "4df07ce7c21577da2baebec2803227b5d38f633b37893ff8b577457a58469d22"


def test_the_workload_is_the_one_that_the_platform_documents() -> None:
    job = replace(
        JOB, identity="//gvc/dev/identity/etl", active_deadline_seconds=60, description="Nightly."
    )
    assert job.workload(name="etl-3f0c", tags={"own": "1", "team": "ours"}) == {
        "kind": "workload",
        "name": "etl-3f0c",
        "description": "Nightly.",
        "tags": {"team": "ours", "own": "1"},
        "spec": {
            "type": "cron",
            "identityLink": "//gvc/dev/identity/etl",
            "containers": [
                {
                    "name": "main",
                    "image": "a:1",
                    "command": "python",
                    "args": ["-V"],
                    "env": [{"name": "A", "value": "1"}],
                    "cpu": "100m",
                    "memory": "128Mi",
                },
                {"name": "side", "image": "b:1"},
            ],
            "job": {
                "schedule": "* * * * *",
                "concurrencyPolicy": "Forbid",
                "historyLimit": 10,
                "restartPolicy": "OnFailure",
                "activeDeadlineSeconds": 60,
            },
            "defaultOptions": {"capacityAI": False, "debug": False, "suspend": True},
            "firewallConfig": OPEN_OUTBOUND,
        },
    }


def test_variables_are_sorted_as_the_platform_stores_them() -> None:
    (override, _) = _main(env={"B": "2", "A": "1"}).overrides({"AA": "3"})
    assert [entry["name"] for entry in override["env"]] == ["A", "AA", "B"]


def test_a_command_without_arguments_takes_none_whatever_the_image_says() -> None:
    assert ContainerSpec("main", "a:1", command="python").override() == {
        "name": "main", "image": "a:1", "command": "python", "args": []
    }  # fmt: skip


@pytest.mark.parametrize(
    ("env", "path"),
    [
        pytest.param({"CPLN_TOKEN": "x"}, "env.CPLN_TOKEN", id="reserved"),
        pytest.param({"A B": "x"}, "env.A B", id="no-name"),
        pytest.param({"A": "s3cret" * 1000}, "env.A", id="too-long"),
    ],
)
def test_a_variable_that_a_run_adds_is_checked_too(env, path) -> None:
    with pytest.raises(ManifestError) as caught:
        JOB.overrides(env)
    (fault,) = caught.value.faults
    assert fault.path == path
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpln://secret/s", {"s"}),
        ("cpln://secret/s.KEY", {"s"}),
        ("cpln://secret/a-b_c.payload", {"a-b_c"}),
        ("cpln://reference/location", set()),
        ("see cpln://secret/s", set()),
        ("cpln://secret/", set()),
        ("plain", set()),
    ],
)
def test_secrets_are_known_by_the_address_in_a_variable_or_a_volume(text, names) -> None:
    assert ContainerSpec("main", "a:1", env={"A": text}).secrets == names
    assert (
        ContainerSpec("main", "a:1", extra={"volumes": [{"uri": text, "path": "/x"}]}).secrets
        == names
    )
    assert JobManifest((MAIN, ContainerSpec("side", "b:1", env={"A": text}))).secrets == names


def test_no_value_of_a_variable_is_in_a_repr() -> None:
    assert "s3cret" not in repr(_main(env={"A": "s3cret"}))


@given(st.data())
def test_a_workload_is_a_copy_that_may_be_changed(data) -> None:
    (job,) = data.draw(jobs_of_one_hash(count=1))
    before = json.dumps(job.workload(name="w", tags={}))
    body = job.workload(name="w", tags={})
    body["spec"]["firewallConfig"]["external"]["outboundAllowCIDR"].clear()
    for container in body["spec"]["containers"]:
        container.get("volumes", []).clear()
    assert json.dumps(job.workload(name="w", tags={})) == before
