"""Every field of a Kubernetes Job: taken, taken without effect, or refused by its path."""

from dataclasses import replace

import pytest

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.conversion import convert
from tests.manifests import ABSENT, changed

POD = "spec.template.spec"
MAIN = f"{POD}.containers[0]"
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "etl"},
    "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "ubuntu:24.04"}]}}},
}


def _converted(*changes):
    return convert(changed(JOB, *changes), gvc="dev")


def _faults(*changes, document=JOB) -> dict[str, str]:
    """What is wrong, by path; nothing is said twice of one place."""
    with pytest.raises(ManifestError) as caught:
        convert(changed(document, *changes), gvc="dev")
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults)
    return found


def _scratch(*mounts: str):
    volumes = [{"name": f"v{n}", "emptyDir": {}} for n in range(len(mounts))]
    found = [{"name": f"v{n}", "mountPath": path} for n, path in enumerate(mounts)]
    return [(f"{POD}.volumes", volumes), (f"{MAIN}.volumeMounts", found)]


def test_the_least_job() -> None:
    job = _converted()
    assert (job.name, job.main.name, job.main.image) == ("etl", "main", "ubuntu:24.04")
    assert (job.job_type, job.restart_policy, job.active_deadline_seconds, job.identity) == (
        "standard",
        "Never",
        None,
        None,
    )
    assert (dict(job.tags), dict(job.extra_spec), dict(job.main.extra)) == ({}, {}, {})


@pytest.mark.parametrize(
    ("changes", "read", "expected"),
    [
        pytest.param([("metadata.name", "n" * 49)], lambda j: j.name, "n" * 49, id="name"),
        pytest.param(
            [("metadata", {"generateName": "etl-"})], lambda j: j.name, "etl-", id="generate-name"
        ),
        pytest.param([("metadata", ABSENT)], lambda j: j.name, None, id="no-name"),
        pytest.param(
            [("metadata.labels", {"a": 1, "b": True})],
            lambda j: j.tags,
            {"a": "1", "b": "true"},
            id="labels",
        ),
        pytest.param(
            [("metadata.annotations", {"a/b": "c"})],
            lambda j: j.tags,
            {"a/b": "c"},
            id="annotations",
        ),
        pytest.param(
            [
                ("metadata.labels", {"a": "1"}),
                ("spec.template.metadata", {"labels": {"a": "1"}, "annotations": {"b": "2"}}),
            ],
            lambda j: j.tags,
            {"a": "1", "b": "2"},
            id="labels-of-the-pod",
        ),
        pytest.param(
            [("metadata.labels", {f"t{n}": "" for n in range(47)})],
            lambda j: len(j.tags),
            47,
            id="most-labels",
        ),
        pytest.param(
            [("spec.activeDeadlineSeconds", 86_400)],
            lambda j: j.active_deadline_seconds,
            86_400,
            id="deadline",
        ),
        pytest.param(
            [("spec.activeDeadlineSeconds", 9), (f"{POD}.activeDeadlineSeconds", 7)],
            lambda j: j.active_deadline_seconds,
            7,
            id="the-shorter-deadline",
        ),
        pytest.param(
            [(f"{POD}.restartPolicy", "OnFailure")],
            lambda j: j.restart_policy,
            "OnFailure",
            id="restart-policy",
        ),
        pytest.param(
            [(f"{POD}.restartPolicy", "OnFailure"), ("spec.backoffLimit", 0)],
            lambda j: j.restart_policy,
            "Never",
            id="no-second-attempt",
        ),
        pytest.param(
            [(f"{POD}.serviceAccountName", "etl")],
            lambda j: j.identity,
            "//gvc/dev/identity/etl",
            id="identity-by-name",
        ),
        pytest.param(
            [(f"{POD}.serviceAccount", "//gvc/dev/identity/etl")],
            lambda j: j.identity,
            "//gvc/dev/identity/etl",
            id="identity-by-link-and-older-name",
        ),
        pytest.param(
            [(f"{POD}.terminationGracePeriodSeconds", 900)],
            lambda j: j.extra_spec,
            {"rolloutOptions": {"terminationGracePeriodSeconds": 900}},
            id="grace",
        ),
        pytest.param(
            [(f"{POD}.securityContext", {"runAsUser": 65_534, "fsGroup": 1, "runAsNonRoot": True})],
            lambda j: j.extra_spec,
            {"securityOptions": {"runAsUser": 65_534, "filesystemGroupId": 1}},
            id="security",
        ),
        pytest.param(
            [(f"{MAIN}.image", "//image/etl:1")],
            lambda j: j.main.image,
            "//image/etl:1",
            id="image",
        ),
        pytest.param(
            [(f"{MAIN}.command", ["sh", "-c"]), (f"{MAIN}.args", ["true", 1])],
            lambda j: (j.main.command, j.main.args),
            ("sh", ("-c", "true", "1")),
            id="command-and-args",
        ),
        pytest.param(
            [(f"{MAIN}.args", ["-x"])],
            lambda j: (j.main.command, j.main.args),
            (None, ("-x",)),
            id="args-only",
        ),
        pytest.param(
            [(f"{MAIN}.command", ["x" * 256])],
            lambda j: j.main.command,
            "x" * 256,
            id="longest-command",
        ),
        pytest.param(
            [(f"{MAIN}.env", {"A": "1", "B": None, "C": True})],
            lambda j: j.main.env,
            {"A": "1", "C": "true"},
            id="env-as-an-object",
        ),
        pytest.param(
            [(f"{MAIN}.command", "sh -c"), (f"{MAIN}.args", "'a b' c")],
            lambda j: (j.main.command, j.main.args),
            ("sh", ("-c", "a b", "c")),
            id="command-line-as-text",
        ),
        pytest.param(
            [
                (
                    f"{MAIN}.env",
                    [{"name": "A", "value": "1"}, {"name": "B"}, {"name": "C", "value": True}],
                )
            ],
            lambda j: j.main.env,
            {"A": "1", "B": "", "C": "true"},
            id="env",
        ),
        pytest.param(
            [(f"{MAIN}.env", [{"name": "A", "value": "cpln://secret/s.KEY"}])],
            lambda j: j.secrets,
            {"s"},
            id="secret-in-env",
        ),
        pytest.param(
            [(f"{MAIN}.resources", {"limits": {"cpu": "0.5", "memory": "1Gi"}})],
            lambda j: (j.main.cpu, j.main.memory, j.main.extra),
            ("500m", "1024Mi", {}),
            id="limits",
        ),
        pytest.param(
            [(f"{MAIN}.resources", {"requests": {"cpu": 1, "memory": "64Mi"}})],
            lambda j: (j.main.cpu, j.main.memory, j.main.extra),
            ("1000m", "64Mi", {}),
            id="requests-alone",
        ),
        pytest.param(
            [
                (
                    f"{MAIN}.resources",
                    {"limits": {"cpu": "1"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
                )
            ],
            lambda j: (j.main.cpu, j.main.memory, j.main.extra),
            ("1000m", "64Mi", {"minCpu": "100m"}),
            id="requests-below-limits",
        ),
        pytest.param(
            [(f"{MAIN}.workingDir", "/app")],
            lambda j: j.main.extra,
            {"workingDir": "/app"},
            id="working-folder",
        ),
        pytest.param(
            [(f"{MAIN}.lifecycle", {"preStop": {"exec": {"command": ["sync"]}}})],
            lambda j: j.main.extra,
            {"lifecycle": {"preStop": {"exec": {"command": ["sync"]}}}},
            id="hook",
        ),
        pytest.param(
            _scratch("/scratch", "/data/"),
            lambda j: j.main.extra,
            {
                "volumes": [
                    {"uri": "scratch://v0", "path": "/scratch"},
                    {"uri": "scratch://v1", "path": "/data"},
                ]
            },
            id="scratch-volumes",
        ),
        pytest.param(
            _scratch(*(f"/m{n}" for n in range(15))),
            lambda j: len(j.main.extra["volumes"]),
            15,
            id="most-volumes",
        ),
        pytest.param(
            [(f"{POD}.containers", [{"name": f"c{n}", "image": "i"} for n in range(8)])],
            lambda j: [c.name for c in j.containers],
            [f"c{n}" for n in range(8)],
            id="sidecars",
        ),
        pytest.param(
            [
                (
                    f"{POD}.initContainers",
                    [{"name": "proxy", "image": "i", "restartPolicy": "Always"}],
                )
            ],
            lambda j: [c.name for c in j.containers],
            ["main", "proxy"],
            id="sidecar-as-kubernetes-writes-it",
        ),
        pytest.param(
            [
                ("metadata.labels", {"cpln/relaxMemoryToCpuRatio": True}),
                (f"{MAIN}.resources", {"limits": {"cpu": "25m", "memory": "800Mi"}}),
            ],
            lambda j: j.main.memory,
            "800Mi",
            id="relaxed-ratio",
        ),
    ],
)
def test_a_supported_field_is_expressed(changes, read, expected) -> None:
    assert read(_converted(*changes)) == expected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", {"succeeded": 1}),
        ("metadata.uid", "0d6c"),
        ("metadata.creationTimestamp", None),
        ("metadata.managedFields", [{}]),
        ("metadata.namespace", "dev"),
        ("metadata.namespace", "default"),
        ("spec.template.spec.parallelism", 1),
        ("spec.template.spec.completions", 1),
        ("spec.completions", 1),
        ("spec.parallelism", 1),
        ("spec.completionMode", "NonIndexed"),
        ("spec.suspend", False),
        ("spec.backoffLimit", 0),
        ("spec.selector", {}),
        ("spec.template.metadata", {"creationTimestamp": None}),
        (f"{POD}.restartPolicy", "Never"),
        (f"{POD}.dnsPolicy", "ClusterFirst"),
        (f"{POD}.schedulerName", "default-scheduler"),
        (f"{POD}.enableServiceLinks", True),
        (f"{POD}.hostNetwork", False),
        (f"{POD}.tolerations", []),
        (f"{POD}.securityContext", {}),
        (f"{POD}.initContainers", []),
        (f"{MAIN}.imagePullPolicy", "Always"),
        (f"{MAIN}.imagePullPolicy", "IfNotPresent"),
        (f"{MAIN}.terminationMessagePath", "/dev/termination-log"),
        (f"{MAIN}.tty", False),
        (f"{MAIN}.resources", {}),
        (f"{MAIN}.ports", []),
    ],
)
def test_what_kubernetes_writes_by_itself_has_no_effect(path, value) -> None:
    assert _converted((path, value)) == _converted()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("apiVersion", "batch/v1beta1"),
        ("apiVersion", ABSENT),
        ("metadata.name", 1),
        ("metadata.name", "n" * 50),
        ("metadata.generateName", {}),
        ("metadata.namespace", 7),
        ("spec.template.spec.parallelism", 2),
        ("spec.template.spec.completions", True),
        ("metadata.labels", ["a"]),
        ("metadata.labels.a", {}),
        ("metadata.labels.a", None),
        ("metadata.labels", {f"t{n}": "" for n in range(48)}),
        ("spec.activeDeadlineSeconds", 0),
        ("spec.activeDeadlineSeconds", 86_401),
        ("spec.backoffLimit", -1),
        ("spec.completions", 2),
        ("spec.completions", True),
        ("spec.parallelism", 2),
        ("spec.completionMode", "Indexed"),
        ("spec.suspend", True),
        ("spec.successPolicy", {"rules": []}),
        ("spec.unknown", 1),
        (f"{POD}.activeDeadlineSeconds", 0),
        (f"{POD}.restartPolicy", "Always"),
        (f"{POD}.serviceAccountName", "No"),
        (f"{POD}.serviceAccountName", "//identity/x/y"),
        (f"{POD}.terminationGracePeriodSeconds", 901),
        (f"{POD}.terminationGracePeriodSeconds", -1),
        (f"{POD}.securityContext.runAsUser", 0),
        (f"{POD}.securityContext.runAsUser", 65_535),
        (f"{POD}.securityContext.fsGroup", 0),
        (f"{POD}.securityContext.runAsNonRoot", True),
        (f"{POD}.securityContext.runAsGroup", 1),
        (f"{POD}.hostAliases", [{"ip": "x"}]),
        (f"{POD}.dnsConfig", {"nameservers": ["x"]}),
        (f"{POD}.dnsPolicy", "None"),
        (f"{POD}.hostNetwork", True),
        (f"{POD}.hostPID", True),
        (f"{POD}.hostIPC", True),
        (f"{POD}.shareProcessNamespace", True),
        (f"{POD}.resourceClaims", [{}]),
        (f"{POD}.resources", {"limits": {"cpu": "1"}}),
        (f"{POD}.containers", []),
        (f"{POD}.containers", ABSENT),
        (f"{POD}.containers", {}),
        (f"{POD}.containers[0]", "x"),
        (f"{POD}.containers", [{"name": f"c{n}", "image": "i"} for n in range(9)]),
        (f"{MAIN}.name", ABSENT),
        (f"{MAIN}.name", ""),
        (f"{MAIN}.name", "c" * 65),
        (f"{MAIN}.name", "cpln-x"),
        (f"{MAIN}.image", ABSENT),
        (f"{MAIN}.image", ""),
        (f"{MAIN}.image", "a b"),
        (f"{MAIN}.command", 7),
        (f"{MAIN}.command[0]", ""),
        (f"{MAIN}.command[0]", {}),
        (f"{MAIN}.args", 'a "b'),
        (f"{MAIN}.args[0]", True),
        (f"{MAIN}.env", "A=1"),
        (f"{MAIN}.env[0]", "A=1"),
        (f"{MAIN}.env[0].name", "CPLN_TOKEN"),
        (f"{MAIN}.env[0].name", "A" * 121),
        (f"{MAIN}.env[0].name", 1),
        (f"{MAIN}.env[0].value", {}),
        (f"{MAIN}.env[0].value", "v" * 4097),
        (f"{MAIN}.env[0].unknown", 1),
        (f"{MAIN}.livenessProbe", {"exec": {}}),
        (f"{MAIN}.startupProbe", {"exec": {}}),
        (f"{MAIN}.imagePullPolicy", "Never"),
        (f"{MAIN}.restartPolicy", "Always"),
        (f"{MAIN}.volumeDevices", [{}]),
        (f"{MAIN}.workingDir", "app"),
        (f"{MAIN}.workingDir", 1),
        (f"{MAIN}.lifecycle.preStop.httpGet", {"path": "/"}),
        (f"{MAIN}.lifecycle.preStop.exec.command", "x"),
        (f"{MAIN}.lifecycle.stopSignal", "SIGINT"),
        (f"{MAIN}.resources.limits.cpu", "24m"),
        (f"{MAIN}.resources.limits.memory", "31Mi"),
        (f"{MAIN}.resources.limits.memory", "1GB"),
        (f"{MAIN}.resources.limits.gpu", 1),
        (f"{MAIN}.resources.claims", [{}]),
        (f"{MAIN}.unknown", 1),
    ],
)
def test_what_cannot_be_expressed_is_one_fault_at_its_path(path, value) -> None:
    prepared = changed(
        JOB,
        ("metadata.labels", {"z": ""}),
        (f"{MAIN}.command", ["x"]),
        (f"{MAIN}.args", ["x"]),
        (f"{MAIN}.env", [{"name": "A", "value": ""}]),
    )
    ((found, message),) = _faults((path, value), document=prepared).items()
    assert found == path
    assert len(message) > 10


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        pytest.param([("metadata", "x")], ["metadata"], id="no-metadata"),
        pytest.param([("spec", "x")], ["spec", f"{POD}.containers"], id="no-spec"),
        pytest.param(
            [("spec.template", [1])], ["spec.template", f"{POD}.containers"], id="no-template"
        ),
        pytest.param(
            [(f"{MAIN}.command", ["x" * 257])], [f"{MAIN}.command"], id="command-too-long"
        ),
        pytest.param(
            [(f"{POD}.containers[1]", {"name": "main", "image": "i"})],
            [f"{POD}.containers[1].name"],
            id="same-name",
        ),
        pytest.param(
            [
                (f"{POD}.containers", ABSENT),
                (
                    f"{POD}.initContainers",
                    [{"name": "a1", "image": "i", "restartPolicy": "Always"}],
                ),
            ],
            [f"{POD}.containers"],
            id="a-sidecar-alone",
        ),
        pytest.param(
            [(f"{MAIN}.env", [{"name": "A"}, {"name": "A"}])],
            [f"{MAIN}.env[1].name"],
            id="variable-given-twice",
        ),
        pytest.param(
            [(f"{MAIN}.env", [{"value": "x"}])],
            [f"{MAIN}.env[0].name"],
            id="variable-without-a-name",
        ),
        pytest.param(
            [("metadata.labels", {"a": "1"}), ("spec.template.metadata.labels", {"a": "2"})],
            ["metadata.labels.a"],
            id="two-values-of-one-tag",
        ),
        pytest.param(
            [(f"{POD}.serviceAccountName", "etl"), (f"{POD}.serviceAccount", "other")],
            [f"{POD}.serviceAccount"],
            id="two-identities",
        ),
        pytest.param(
            [(f"{MAIN}.resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})],
            [f"{MAIN}.resources.requests.cpu"],
            id="request-above-the-limit",
        ),
        pytest.param(
            [(f"{MAIN}.resources", {"limits": {"cpu": "25m", "memory": "201Mi"}})],
            [f"{MAIN}.resources"],
            id="memory-to-cpu",
        ),
        pytest.param(_scratch("/dev"), [f"{MAIN}.volumeMounts[0].mountPath"], id="reserved-mount"),
        pytest.param(_scratch("/a", "/a/b"), [f"{MAIN}.volumeMounts"], id="mount-in-a-mount"),
        pytest.param(
            _scratch(*(f"/m{n}" for n in range(16))),
            [f"{MAIN}.volumeMounts"],
            id="too-many-volumes",
        ),
        pytest.param(
            [(f"{MAIN}.volumeMounts", [{"name": "x", "mountPath": "/x"}])],
            [f"{MAIN}.volumeMounts[0].name"],
            id="no-volume",
        ),
        pytest.param(
            [*_scratch("/x"), (f"{MAIN}.volumeMounts[0].subPath", "y")],
            [f"{MAIN}.volumeMounts[0].subPath"],
            id="sub-path",
        ),
        pytest.param(
            [(f"{POD}.volumes", [{"name": "x"}])], [f"{POD}.volumes[0]"], id="volume-of-no-kind"
        ),
        pytest.param(
            [(f"{POD}.volumes", [{"name": "No", "emptyDir": {}}])],
            [f"{POD}.volumes[0].name"],
            id="name-of-a-volume",
        ),
        pytest.param(
            [(f"{POD}.volumes", [{"name": "x", "emptyDir": {}}] * 2)],
            [f"{POD}.volumes[1].name"],
            id="volume-twice",
        ),
        pytest.param(
            [
                (f"{MAIN}.image", ABSENT),
                (f"{MAIN}.args", 3),
                (f"{POD}.hostNetwork", True),
                ("spec.completions", 2),
            ],
            ["spec.completions", f"{POD}.hostNetwork", f"{MAIN}.args", f"{MAIN}.image"],
            id="all-at-once",
        ),
    ],
)
def test_every_fault_is_named(changes, paths) -> None:
    assert sorted(_faults(*changes)) == sorted(paths)


def test_refused_volume_is_told_where_it_stands() -> None:
    changes = [
        (f"{POD}.volumes", [{"name": "x", "nfs": {"server": "s"}}]),
        (f"{MAIN}.volumeMounts", [{"name": "x", "mountPath": "/x"}]),
    ]
    assert list(_faults(*changes)) == [f"{POD}.volumes[0].nfs"]


def test_no_value_of_a_variable_is_in_an_error() -> None:
    (message,) = _faults((f"{MAIN}.env", [{"name": "A", "value": "s3cret" * 1000}])).values()
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.template.metadata.name", "t"),
        ("spec.template.metadata.namespace", "elsewhere"),
        ("spec.template.metadata.creationTimestamp", "2026-01-10T10:00:00Z"),
        ("metadata.ownerReferences", [{"kind": "CronJob", "name": "c"}]),
        ("metadata.finalizers", ["orphan"]),
        ("metadata.managedFields", [{"manager": "kubectl"}]),
        ("spec.selector", {"matchLabels": {"controller-uid": "u"}}),
        ("spec.selector", {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}),
        ("spec.suspend", "False"),
        (f"{POD}.hostNetwork", "FALSE"),
        (f"{POD}.automountServiceAccountToken", "True"),
    ],
)
def test_what_kubernetes_writes_changes_nothing(path, value) -> None:
    assert convert(changed(JOB, (path, value)), gvc="dev") == convert(JOB, gvc="dev")


@pytest.mark.parametrize(
    "part", ["metadata.annotations", "metadata.labels", "spec.template.metadata.labels"]
)
@pytest.mark.parametrize(
    "name",
    [
        "kubectl.kubernetes.io/last-applied-configuration",
        "batch.kubernetes.io/job-name",
        "controller-uid",
        "job-name",
        "meta.helm.sh/release-name",
        "argocd.argoproj.io/tracking-id",
    ],
)
def test_bookkeeping_of_tools_is_no_tag(part, name) -> None:
    tags = convert(changed(JOB, (part, {name: "hunter2", "team": "data"})), gvc="dev").tags
    assert "hunter2" not in str(tags)
    assert tags["team"] == "data"


@pytest.mark.parametrize(
    "more", [{"readOnly": True}, {"subPath": "x"}, {"mountPropagation": "Bidirectional"}]
)
def test_mount_of_refused_volume_is_no_fault(more) -> None:
    volumes = (f"{POD}.volumes", [{"name": "s", "hostPath": {"path": "/x"}}])
    mounts = (f"{MAIN}.volumeMounts", [{"name": "s", "mountPath": "/s", **more}])
    assert list(_faults(volumes, mounts)) == [f"{POD}.volumes[0].hostPath"]


def test_refused_value_says_what_is_allowed() -> None:
    (message,) = _faults((f"{POD}.dnsPolicy", "None")).values()
    assert message.startswith(
        "expected ClusterFirst or ClusterFirstWithHostNet or Default, found the string 'None'"
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.namespace", "somewhere"),
        ("spec.ttlSecondsAfterFinished", 0),
        ("spec.backoffLimit", 3),
        ("spec.manualSelector", True),
        ("spec.podFailurePolicy", {"rules": []}),
        ("spec.backoffLimitPerIndex", 1),
        ("spec.managedBy", "x"),
        (f"{POD}.nodeSelector", {"a": "b"}),
        (f"{POD}.nodeName", "x"),
        (f"{POD}.affinity", {"nodeAffinity": {}}),
        (f"{POD}.tolerations", [{"key": "x"}]),
        (f"{POD}.topologySpreadConstraints", [{}]),
        (f"{POD}.priorityClassName", "x"),
        (f"{POD}.runtimeClassName", "x"),
        (f"{POD}.schedulerName", "mine"),
        (f"{POD}.preemptionPolicy", "Never"),
        (f"{POD}.imagePullSecrets", [{"name": "x"}]),
        (f"{POD}.hostname", "x"),
        (f"{POD}.subdomain", "x"),
        (f"{POD}.hostUsers", False),
        (f"{POD}.automountServiceAccountToken", False),
        (f"{POD}.readinessGates", [{}]),
        (f"{POD}.ephemeralContainers", [{}]),
        (f"{POD}.overhead", {"cpu": "1"}),
        (f"{POD}.securityContext.seLinuxOptions", {"level": "x"}),
        (f"{MAIN}.ports", [{"containerPort": 80}]),
        (f"{MAIN}.readinessProbe", {"exec": {}}),
        (f"{MAIN}.resizePolicy", [{}]),
        (f"{MAIN}.tty", True),
        (f"{MAIN}.stdin", True),
        (f"{MAIN}.terminationMessagePath", "/x"),
        ("spec.selector", {"matchLabels": {"app": "x"}}),
        ("spec.selector", {"matchExpressions": []}),
        ("spec.selector", "x"),
        (f"{POD}.setHostnameAsFQDN", True),
        (f"{POD}.securityContext.seccompProfile", {"type": "RuntimeDefault"}),
        (f"{MAIN}.securityContext", {"allowPrivilegeEscalation": False}),
        (f"{MAIN}.securityContext", {"readOnlyRootFilesystem": True}),
    ],
)
def test_what_has_no_effect_is_one_note(path, value) -> None:
    made, plain = _converted((path, value)), _converted()
    (note,) = set(made.notes) - set(plain.notes)
    assert note.path.startswith(path)
    assert "has no effect" in note.message
    assert replace(made, notes=()) == replace(plain, notes=())


@pytest.mark.parametrize(
    "image",
    [
        "${IMAGE}:1",
        "$(IMAGE)",
        "gcr.io/<project>/x",
        "{{ image }}",
        "@IMAGE@",
        "$IMAGE",
        "%IMAGE%",
        "x/__IMAGE__:1",
        "[[ image ]]",
    ],
)
def test_placeholder_in_image_is_named(image) -> None:
    (message,) = _faults((f"{MAIN}.image", image)).values()
    assert "placeholder that was not filled in; render the template first" in message
