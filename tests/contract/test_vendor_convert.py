"""The vendor's conversion of Kubernetes manifests, `cpln convert`, as the oracle of ours.

See control-plane-api.md, F187.
"""

import json
import random
import re
import subprocess
from typing import Any

import pytest
import yaml

from cpln_flows.manifest import limits
from cpln_flows.manifest.conversion import convert
from tests.contract.vendor_cli import install
from tests.manifests import changed

MANIFESTS = 100
NEIGHBORS = [
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "conf"},
        "data": {"MODE": "fast", "app.yaml": "a: 1"},
    },
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys"},
        "stringData": {"pw": "hush", "user": "ada"},
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "20Gi"}}},
    },
]
VARIABLES: list[dict[str, Any]] = [
    {"name": "PLAIN", "value": "1"},
    {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "pw"}}},
    {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "MODE"}}},
    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
]
VOLUMES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"emptyDir": {}}, {"mountPath": "/scratch"}),
    ({"emptyDir": {"medium": "Memory"}}, {"mountPath": "/memory"}),
    ({"secret": {"secretName": "keys"}}, {"mountPath": "/keys", "readOnly": True}),
    (
        {"secret": {"secretName": "keys", "items": [{"key": "pw", "path": "pw.txt"}]}},
        {"mountPath": "/chosen"},
    ),
    ({"secret": {"secretName": "keys"}}, {"mountPath": "/user", "subPath": "user"}),
    ({"configMap": {"name": "conf"}}, {"mountPath": "/conf"}),
    ({"configMap": {"name": "conf"}}, {"mountPath": "/etc/app.yaml", "subPath": "app.yaml"}),
    (
        {"configMap": {"name": "conf", "items": [{"key": "app.yaml", "path": "in/app.yaml"}]}},
        {"mountPath": "/nested"},
    ),
    ({"persistentVolumeClaim": {"claimName": "data"}}, {"mountPath": "/data"}),
    (
        {"projected": {"sources": [
            {"secret": {"name": "keys", "items": [{"key": "pw", "path": "a"}]}},
            {"configMap": {"name": "conf", "items": [{"key": "MODE", "path": "b"}]}},
        ]}},
        {"mountPath": "/projected"},
    ),
]  # fmt: skip
RESOURCES: list[dict[str, Any]] = [
    {"limits": {"cpu": "500m", "memory": "1Gi"}},
    {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "100m", "memory": "512Mi"}},
    {"limits": {"cpu": "250m", "memory": "256Mi"}, "requests": {"cpu": "250m"}},
]
COMMANDS: list[dict[str, Any]] = [
    {},
    {"command": ["python", "-m", "etl"]},
    {"args": ["--once"]},
    {"command": ["sh", "-c"], "args": ["echo $PLAIN"]},
]


def _container(draw: random.Random, name: str, volumes: list[dict[str, Any]]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": draw.choice(["ubuntu:24.04", "//image/etl:1", "ghcr.io/acme/etl:2"]),
    }
    container |= draw.choice(COMMANDS) | {"resources": draw.choice(RESOURCES)}
    if variables := draw.sample(VARIABLES, draw.randint(0, len(VARIABLES))):
        container["env"] = variables
    mounts = []
    for source, mount in draw.sample(VOLUMES, draw.randint(0, 4)):
        volume = f"v{len(volumes)}"
        volumes.append({"name": volume, **source})
        mounts.append({"name": volume, **mount})
    if mounts:
        container["volumeMounts"] = mounts
    if draw.random() < 0.3:
        container["workingDir"] = "/app"
    if draw.random() < 0.2:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sync"]}}}
    return container


def _job(number: int) -> dict[str, Any]:
    draw = random.Random(number)  # noqa: S311 - the same manifests in every run
    volumes: list[dict[str, Any]] = []
    containers = [
        _container(draw, name, volumes) for name in ("main", "side", "proxy")[: draw.randint(1, 3)]
    ]
    pod: dict[str, Any] = {
        "restartPolicy": draw.choice(["Never", "OnFailure"]),
        "containers": containers,
    }
    if volumes:
        pod["volumes"] = volumes
    if draw.random() < 0.3:
        pod["securityContext"] = {"fsGroup": 2000}
    metadata = {"name": f"job-{number}", "labels": {"team": draw.choice(["data", "web"])}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"template": {"spec": pod}},
    }


CONTAINER, SPEC = "spec.template.spec.containers[0]", "spec.containers[0]"
DIFFERENCES: dict[str, tuple[list[tuple[str, Any]], str, Any, Any]] = {
    # Too little for Prefect itself.
    "amounts": ([(f"{CONTAINER}.resources", {})], f"{SPEC}.memory", "512Mi", "128Mi"),
    # A cron workload serves nobody (F103).
    "ports": (
        [(f"{CONTAINER}.ports", [{"containerPort": 8080}])],
        f"{SPEC}.ports",
        None,
        [{"protocol": "http", "number": 8080}],
    ),
    # Dropped without a word by the vendor's.
    "user": (
        [("spec.template.spec.securityContext", {"runAsUser": 1000})],
        "spec.securityOptions.runAsUser",
        1000,
        None,
    ),
    "deadline": ([("spec.activeDeadlineSeconds", 60)], "spec.job.activeDeadlineSeconds", 60, None),
    # Known when the job is converted.
    "namespace": (
        [
            (
                f"{CONTAINER}.env",
                [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
            )
        ],
        f"{SPEC}.env[0].value",
        "dev",
        "cpln://reference/metadata.namespace",
    ),
    "label": (
        [
            (
                f"{CONTAINER}.env",
                [
                    {
                        "name": "A",
                        "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}},
                    }
                ],
            )
        ],
        f"{SPEC}.env[0].value",
        "data",
        "cpln://reference/metadata.labels['team']",
    ),
}
"""What differs on purpose, by reason: changes of a job, the compared place, ours, the vendor's."""


def _other(name: str) -> dict[str, Any]:
    container = {"name": "main", "image": "ubuntu:24.04", "resources": RESOURCES[0]}
    metadata = {"name": name, "labels": {"team": "data"}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    return changed(job, *DIFFERENCES[name][0])


def _at(workload: Any, path: str) -> Any:
    for part in re.split(r"[.\[]", path.replace("]", "")):
        workload = workload[int(part)] if part.isdigit() else (workload or {}).get(part)
    return workload


@pytest.fixture(scope="module")
def converted(request, tmp_path_factory) -> dict[str, dict[str, Any]]:
    """The workloads that the vendor makes of all manifests, by their names."""
    program, home = install(request.config), tmp_path_factory.mktemp("convert")
    documents = [*NEIGHBORS, *map(_job, range(MANIFESTS)), *(_other(name) for name in DIFFERENCES)]
    (home / "jobs.yaml").write_text(yaml.safe_dump_all(documents))
    environment = {
        "HOME": str(home),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "CPLN_HOME": str(home),
        "CPLN_SKIP_UPDATE_CHECK": "1",
    }
    # It asks for nothing, but wants to be told where it would.
    environment |= {"CPLN_TOKEN": "none", "CPLN_ORG": "acme", "CPLN_ENDPOINT": "http://127.0.0.1:9"}
    command = [str(program), "convert", "-f", str(home / "jobs.yaml"), "--gvc", "dev"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return {one["name"]: one for one in json.loads(done.stdout) if one["kind"] == "workload"}


def _comparable(workload: dict[str, Any]) -> dict[str, Any]:
    spec = workload["spec"]
    return {
        "containers": [_comparable_container(one) for one in spec["containers"]],
        "restartPolicy": spec["job"]["restartPolicy"],
        "securityOptions": spec.get("securityOptions"),
        "tags": workload.get("tags"),
    }


def _comparable_container(container: dict[str, Any]) -> dict[str, Any]:
    amounts = {
        "cpu": limits.cpu,
        "minCpu": limits.cpu,
        "memory": limits.memory,
        "minMemory": limits.memory,
    }
    found = {key: value for key, value in container.items() if value not in (None, [], {})}
    for key, rule in amounts.items():
        if key in found:
            found[key] = rule(found[key])[0]
    for least, most in (("minCpu", "cpu"), ("minMemory", "memory")):
        if found.get(least) == found[most]:
            found.pop(least, None)  # a least that is the most says nothing
    for part in ("env", "volumes"):
        if part in found:
            found[part] = sorted(found[part], key=json.dumps)
    return found


@pytest.mark.parametrize("number", range(MANIFESTS))
def test_conversion_is_that_of_the_vendor(number, converted) -> None:
    made = convert(_job(number), gvc="dev").workload(name=f"job-{number}", tags={})
    assert _comparable(made) == _comparable(converted[f"job-{number}"])


@pytest.mark.parametrize("name", DIFFERENCES)
def test_conversion_differs_on_purpose(name, converted) -> None:
    _, path, ours, theirs = DIFFERENCES[name]
    assert _at(convert(_other(name), gvc="dev").workload(name=name, tags={}), path) == ours
    assert _at(converted[name], path) == theirs
