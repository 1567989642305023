"""Every field of a native cron workload: passed on as it is, or refused by its path."""

import pytest

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.conversion import convert
from cpln_flows.manifest.manifest import OPEN_OUTBOUND
from tests.manifests import ABSENT, changed, native_job

MAIN = "spec.containers[0]"
EXTERNAL = "spec.firewallConfig.external"
JOB = native_job()


def _converted(*changes):
    return convert(changed(JOB, *changes), gvc="dev")


def _faults(*changes) -> dict[str, str]:
    """What is wrong, by path; nothing is said twice of one place."""
    with pytest.raises(ManifestError) as caught:
        _converted(*changes)
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults)
    return found


def test_the_least_workload_is_suspended_open_to_the_outside_and_closed_to_the_inside() -> None:
    job = _converted()
    assert (job.name, job.main.name, job.main.image, job.main.command, job.main.args) == (
        "test-job", "main", "python:3.12-slim", "python", ("-V",)
    )  # fmt: skip
    assert (job.job_type, job.restart_policy, job.concurrency_policy, job.history_limit) == (
        "standard",
        "Never",
        "Forbid",
        10,
    )
    assert job.firewall == OPEN_OUTBOUND
    assert job.workload(name="w", tags={})["spec"]["defaultOptions"] == {
        "capacityAI": False,
        "debug": False,
        "suspend": True,
    }


@pytest.mark.parametrize(
    ("changes", "read", "expected"),
    [
        pytest.param([("name", "n" * 49)], lambda j: j.name, "n" * 49, id="name"),
        pytest.param([("name", ABSENT)], lambda j: j.name, None, id="no-name"),
        pytest.param(
            [("tags", {"a": 1, "b": False})], lambda j: j.tags, {"a": "1", "b": "false"}, id="tags"
        ),
        pytest.param(
            [("tags", {f"t{n}": "" for n in range(47)})], lambda j: len(j.tags), 47, id="most-tags"
        ),
        pytest.param(
            [("description", "d" * 250)], lambda j: j.description, "d" * 250, id="description"
        ),
        pytest.param(
            [("spec.job.schedule", "0 3 * * *")], lambda j: j.schedule, "0 3 * * *", id="schedule"
        ),
        pytest.param(
            [("spec.job.concurrencyPolicy", "Allow")],
            lambda j: j.concurrency_policy,
            "Allow",
            id="concurrency",
        ),
        pytest.param([("spec.job.historyLimit", 1)], lambda j: j.history_limit, 1, id="history"),
        pytest.param(
            [("spec.job.restartPolicy", "OnFailure")],
            lambda j: j.restart_policy,
            "OnFailure",
            id="restart-policy",
        ),
        pytest.param(
            [("spec.job.activeDeadlineSeconds", 86_400)],
            lambda j: j.active_deadline_seconds,
            86_400,
            id="deadline",
        ),
        pytest.param(
            [("spec.defaultOptions.suspend", True)],
            lambda j: j.job_type,
            "standard",
            id="suspended",
        ),
        pytest.param(
            [("spec.defaultOptions.suspend", False), ("spec.job.schedule", "0 3 * * *")],
            lambda j: (
                j.job_type,
                j.workload(name="w", tags={})["spec"]["defaultOptions"]["suspend"],
            ),
            ("cron", False),
            id="on-its-own-schedule",
        ),
        pytest.param(
            [
                (
                    "spec.defaultOptions",
                    {"capacityAI": True, "timeoutSeconds": 600, "multiZone": {"enabled": True}},
                )
            ],
            lambda j: j.options,
            {"capacityAI": True, "timeoutSeconds": 600, "multiZone": {"enabled": True}},
            id="options",
        ),
        pytest.param(
            [("spec.identityLink", "//gvc/dev/identity/etl")],
            lambda j: j.identity,
            "//gvc/dev/identity/etl",
            id="identity",
        ),
        pytest.param(
            [("spec.rolloutOptions", {"terminationGracePeriodSeconds": 900, "minReadySeconds": 1})],
            lambda j: j.extra_spec,
            {"rolloutOptions": {"terminationGracePeriodSeconds": 900, "minReadySeconds": 1}},
            id="rollout",
        ),
        pytest.param(
            [("spec.securityOptions", {"runAsUser": 1, "filesystemGroupId": 65_534})],
            lambda j: j.extra_spec,
            {"securityOptions": {"runAsUser": 1, "filesystemGroupId": 65_534}},
            id="security",
        ),
        pytest.param(
            [
                ("spec.sidecar", {"envoy": {}}),
                ("spec.supportDynamicTags", True),
                ("spec.extras", {"a": 1}),
            ],
            lambda j: j.extra_spec,
            {"sidecar": {"envoy": {}}, "supportDynamicTags": True, "extras": {"a": 1}},
            id="passed-on",
        ),
        pytest.param(
            [(f"{EXTERNAL}.outboundAllowHostname", ["example.org"])],
            lambda j: (
                j.firewall["external"]["outboundAllowHostname"],
                j.firewall["external"]["outboundAllowCIDR"],
            ),
            (["example.org"], []),
            id="only-one-host-outside",
        ),
        pytest.param(
            [("spec.firewallConfig.internal.inboundAllowType", "same-gvc")],
            lambda j: (
                j.firewall["internal"]["inboundAllowType"],
                j.firewall["external"]["outboundAllowCIDR"],
            ),
            ("same-gvc", ["0.0.0.0/0"]),
            id="open-to-the-inside",
        ),
        pytest.param(
            [(f"{EXTERNAL}.inboundAllowCIDR", ["10.0.0.0/8"] * 250)],
            lambda j: len(j.firewall["external"]["inboundAllowCIDR"]),
            250,
            id="most-networks",
        ),
        pytest.param(
            [(f"{MAIN}.command", "x" * 256)],
            lambda j: j.main.command,
            "x" * 256,
            id="longest-command",
        ),
        pytest.param(
            [(f"{MAIN}.command", ABSENT)],
            lambda j: (j.main.command, j.main.args),
            (None, ("-V",)),
            id="args-only",
        ),
        pytest.param([(f"{MAIN}.args", [1, "a"])], lambda j: j.main.args, ("1", "a"), id="args"),
        pytest.param(
            [(f"{MAIN}.env", [{"name": "A", "value": 1}])],
            lambda j: j.main.env,
            {"A": "1"},
            id="env",
        ),
        pytest.param(
            [
                (f"{MAIN}.cpu", "1"),
                (f"{MAIN}.memory", "1Gi"),
                (f"{MAIN}.minCpu", "25m"),
                (f"{MAIN}.minMemory", "32Mi"),
            ],
            lambda j: (j.main.cpu, j.main.memory, j.main.extra),
            ("1000m", "1024Mi", {"minCpu": "25m", "minMemory": "32Mi"}),
            id="amounts",
        ),
        pytest.param(
            [(f"{MAIN}.minCpu", "50m")],
            lambda j: (j.main.cpu, j.main.override()["cpu"], j.main.override()["memory"]),
            (None, "50m", "128Mi"),
            id="the-least-of-a-default",
        ),
        pytest.param(
            [
                (
                    f"{MAIN}.volumes",
                    [
                        {
                            "uri": "cpln://secret/files.KEY",
                            "path": "/files",
                            "recoveryPolicy": "retain",
                        }
                    ],
                )
            ],
            lambda j: (j.main.extra["volumes"], j.secrets),
            (
                [{"uri": "cpln://secret/files.KEY", "path": "/files", "recoveryPolicy": "retain"}],
                {"files"},
            ),
            id="volume-with-a-secret",
        ),
        pytest.param(
            [
                (f"{MAIN}.ports", [{"number": 8080, "protocol": "http2"}]),
                (f"{MAIN}.readinessProbe", {"tcpSocket": {}}),
            ],
            lambda j: j.main.extra,
            {"ports": [{"number": 8080, "protocol": "http2"}], "readinessProbe": {"tcpSocket": {}}},
            id="ports-and-probes",
        ),
        pytest.param(
            [
                (f"{MAIN}.inheritEnv", True),
                (f"{MAIN}.workingDir", "/app"),
                (f"{MAIN}.lifecycle", {"postStart": {"exec": {"command": ["a", 1]}}}),
            ],
            lambda j: j.main.extra,
            {
                "inheritEnv": True,
                "workingDir": "/app",
                "lifecycle": {"postStart": {"exec": {"command": ["a", "1"]}}},
            },
            id="rest-of-a-container",
        ),
        pytest.param(
            [("spec.containers", [{"name": f"c{n}", "image": "i"} for n in range(8)])],
            lambda j: [c.name for c in j.containers],
            [f"c{n}" for n in range(8)],
            id="sidecars",
        ),
    ],
)
def test_a_supported_field_is_expressed(changes, read, expected) -> None:
    assert read(_converted(*changes)) == expected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", "aac8"),
        ("version", 3),
        ("created", "2026-01-10T21:50:46.156Z"),
        ("lastModified", "2026-01-10T21:50:46.156Z"),
        ("links", [{"rel": "self", "href": "/org/acme/gvc/dev/workload/test-job"}]),
        ("status", {"endpoint": ""}),
        ("health", {}),
        ("gvc", "dev"),
        ("tags", None),
        (f"{MAIN}.volumes", []),
        (f"{MAIN}.env", []),
        (f"{MAIN}.lifecycle", {}),
    ],
)
def test_a_workload_can_be_given_as_the_platform_shows_it(path, value) -> None:
    assert _converted((path, value)) == _converted()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", 1),
        ("name", "n" * 50),
        ("gvc", "other"),
        ("tags", ["a"]),
        ("tags", {f"t{n}": "" for n in range(48)}),
        ("tags.a", []),
        ("description", "d" * 251),
        ("description", " d"),
        ("description", 1),
        ("unknown", 1),
        ("spec.type", ABSENT),
        ("spec.type", "standard"),
        ("spec.type", "serverless"),
        ("spec.unknown", 1),
        ("spec.vm", {"a": 1}),
        ("spec.identityLink", "etl"),
        ("spec.identityLink", "//identity/etl/x"),
        ("spec.identityLink", 1),
        ("spec.supportDynamicTags", "maybe"),
        ("spec.loadBalancer", "x"),
        ("spec.sidecar", []),
        ("spec.localOptions", {}),
        ("spec.localOptions[0]", "x"),
        ("spec.rolloutOptions", "x"),
        ("spec.rolloutOptions.terminationGracePeriodSeconds", 901),
        ("spec.securityOptions.runAsUser", 0),
        ("spec.securityOptions.filesystemGroupId", 65_535),
        ("spec.job", "x"),
        ("spec.job.schedule", "often"),
        ("spec.job.schedule", 1),
        ("spec.job.concurrencyPolicy", "Never"),
        ("spec.job.concurrencyPolicy", 1),
        ("spec.job.restartPolicy", "Always"),
        ("spec.job.historyLimit", 0),
        ("spec.job.historyLimit", 11),
        ("spec.job.activeDeadlineSeconds", 0),
        ("spec.job.activeDeadlineSeconds", 86_401),
        ("spec.job.suspend", True),
        ("spec.job.unknown", 1),
        ("spec.defaultOptions", []),
        ("spec.defaultOptions.suspend", "maybe"),
        ("spec.defaultOptions.timeoutSeconds", 0),
        ("spec.defaultOptions.timeoutSeconds", 3601),
        ("spec.defaultOptions.capacityAI", 1),
        ("spec.defaultOptions.autoscaling", 1),
        ("spec.defaultOptions.unknown", 1),
        ("spec.firewallConfig", "x"),
        ("spec.firewallConfig.unknown", {"a": 1}),
        (f"{EXTERNAL}.outboundAllowCIDR", "0.0.0.0/0"),
        (f"{EXTERNAL}.outboundAllowCIDR[0]", {}),
        (f"{EXTERNAL}.outboundAllowPort[0]", 443),
        (f"{EXTERNAL}.inboundAllowCIDR", ["10.0.0.0/8"] * 251),
        (f"{EXTERNAL}.unknown", ["x"]),
        ("spec.firewallConfig.internal.inboundAllowType", "all"),
        ("spec.firewallConfig.internal.inboundAllowWorkload", "x"),
        ("spec.containers", ABSENT),
        ("spec.containers", []),
        ("spec.containers", {}),
        ("spec.containers[0]", []),
        ("spec.containers", [{"name": f"c{n}", "image": "i"} for n in range(9)]),
        ("spec.containers[1]", {"name": "cpln-x", "image": "i"}),
        (f"{MAIN}.name", ABSENT),
        (f"{MAIN}.name", ""),
        (f"{MAIN}.image", ABSENT),
        (f"{MAIN}.image", ""),
        (f"{MAIN}.command", ["python"]),
        (f"{MAIN}.command", ""),
        (f"{MAIN}.command", "x" * 257),
        (f"{MAIN}.args", "-V"),
        (f"{MAIN}.env[0]", {"name": "A", "value": "1", "secret": 1}),
        (f"{MAIN}.env[0]", {"name": "A", "valueFrom": {"secretKeyRef": {}}}),
        (f"{MAIN}.env[0].name", "K_SERVICE"),
        (f"{MAIN}.cpu", "24m"),
        (f"{MAIN}.cpu", []),
        (f"{MAIN}.memory", "31Mi"),
        (f"{MAIN}.minCpu", "51m"),
        (f"{MAIN}.minMemory", "129Mi"),
        (f"{MAIN}.memory", "401Mi"),
        (f"{MAIN}.port", 8080),
        (f"{MAIN}.ports", {}),
        (f"{MAIN}.ports[0].number", 79),
        (f"{MAIN}.ports[0].number", "80"),
        (f"{MAIN}.ports[0].number", True),
        (f"{MAIN}.ports[0]", {"number": 8080, "unknown": 1}),
        (f"{MAIN}.ports[0]", {"number": 8080, "protocol": "udp"}),
        (f"{MAIN}.readinessProbe", "x"),
        (f"{MAIN}.inheritEnv", "x"),
        (f"{MAIN}.workingDir", "app"),
        (f"{MAIN}.lifecycle.preStop.httpGet", {"path": "/"}),
        (f"{MAIN}.volumes[0]", {"uri": "scratch://x", "path": "/var"}),
        (f"{MAIN}.volumes[0]", {"uri": "http://x", "path": "/x"}),
        (f"{MAIN}.volumes[0]", {"uri": "scratch://x", "path": "/x", "unknown": 1}),
        (f"{MAIN}.volumes[0]", {"path": "/x"}),
        (f"{MAIN}.volumes", [{"uri": "scratch://x", "path": f"/m{n}"} for n in range(16)]),
        (
            f"{MAIN}.volumes",
            [{"uri": "scratch://x", "path": "/a"}, {"uri": "scratch://y", "path": "/a/b"}],
        ),
        (f"{MAIN}.resources", {"limits": {"cpu": "1"}}),
    ],
)
def test_what_cannot_be_run_is_one_fault_at_its_path(path, value) -> None:
    ((found, message),) = _faults((path, value)).items()
    # Within an object, the fault is at its wrong field.
    assert found == path or (isinstance(value, dict) and found.startswith(f"{path}."))
    assert len(message) > 10


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        pytest.param([("spec", "x")], ["spec", "spec.type", "spec.containers"], id="no-spec"),
        pytest.param(
            [("spec.defaultOptions.suspend", False)],
            ["spec.job.schedule"],
            id="live-without-a-schedule",
        ),
        pytest.param(
            [("spec.containers[1]", {"name": "main", "image": "i"})],
            ["spec.containers[1].name"],
            id="two-containers-of-a-name",
        ),
        pytest.param(
            [
                ("gvc", "other"),
                ("spec.type", "standard"),
                (f"{MAIN}.image", ABSENT),
                (f"{MAIN}.cpu", "1m"),
            ],
            ["gvc", "spec.type", f"{MAIN}.image", f"{MAIN}.cpu"],
            id="all-at-once",
        ),
    ],
)
def test_every_fault_is_named(changes, paths) -> None:
    assert sorted(_faults(*changes)) == sorted(paths)


def test_the_memory_of_a_tagged_workload_may_be_larger() -> None:
    changes = [(f"{MAIN}.cpu", "25m"), (f"{MAIN}.memory", "800Mi")]
    assert list(_faults(*changes)) == [f"{MAIN}.memory"]
    assert (
        _converted(*changes, ("tags", {"cpln/relaxMemoryToCpuRatio": "true"})).main.memory
        == "800Mi"
    )


def test_an_identity_that_is_a_name_is_told_its_link() -> None:
    assert "//gvc/dev/identity/etl" in _faults(("spec.identityLink", "etl"))["spec.identityLink"]


def test_short_link_is_of_own_gvc() -> None:
    job = convert(changed(JOB, ("spec.identityLink", "//identity/runner")), gvc="dev")
    assert job.identity == "//gvc/dev/identity/runner"


@pytest.mark.parametrize("seconds", [1, 600, 3600])
def test_timeout_of_hour_is_taken(seconds) -> None:
    assert (
        convert(changed(JOB, ("spec.defaultOptions.timeoutSeconds", seconds)), gvc="dev").options[
            "timeoutSeconds"
        ]
        == seconds
    )


def test_text_that_means_a_number_or_a_truth_is_passed_on_as_that() -> None:
    document = changed(
        native_job(),
        ("spec.defaultOptions", {"suspend": "yes", "capacityAI": "False", "timeoutSeconds": "+60"}),
        ("spec.rolloutOptions", {"terminationGracePeriodSeconds": "0x3C"}),
        ("spec.securityOptions", {"runAsUser": "7"}),
        ("spec.containers[0].inheritEnv", "no"),
    )
    spec = convert(document, gvc="dev").workload(name="w", tags={})["spec"]
    assert (spec["defaultOptions"]["capacityAI"], spec["defaultOptions"]["timeoutSeconds"]) == (
        False,
        60,
    )
    assert spec["rolloutOptions"] == {"terminationGracePeriodSeconds": 60}
    assert spec["securityOptions"] == {"runAsUser": 7}
    assert spec["containers"][0]["inheritEnv"] is False
    assert document["spec"]["rolloutOptions"] == {"terminationGracePeriodSeconds": "0x3C"}
