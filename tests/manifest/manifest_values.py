"""Manifests by chance: good ones, nearly good ones, and anything that JSON or YAML can express."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import yaml
from hypothesis import strategies as st

from cpln_flows.manifest.manifest import ContainerSpec, JobManifest
from tests.manifests import changed, native_job

KUBERNETES = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "etl", "labels": {"team": "data"}},
    "spec": {
        "backoffLimit": 0,
        "activeDeadlineSeconds": 600,
        "template": {
            "metadata": {"annotations": {"note": "x"}},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": "etl",
                "terminationGracePeriodSeconds": 30,
                "securityContext": {"runAsUser": 1000, "fsGroup": 1000},
                "nodeSelector": {"disk": "ssd"},
                "volumes": [
                    {"name": "work", "emptyDir": {}},
                    {
                        "name": "keys",
                        "secret": {"secretName": "keys", "items": [{"key": "pw", "path": "in/pw"}]},
                    },
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                    {
                        "name": "both",
                        "projected": {
                            "sources": [
                                {
                                    "configMap": {
                                        "name": "conf",
                                        "items": [{"key": "a", "path": "a"}],
                                    }
                                }
                            ]
                        },
                    },
                ],
                "initContainers": [
                    {
                        "name": "init",
                        "image": "ubuntu:24.04",
                        "command": ["sh", "-c", "true"],
                        "workingDir": "/work",
                    },
                    {
                        "name": "log",
                        "image": "log:1",
                        "restartPolicy": "Always",
                        "securityContext": {"runAsUser": 1000},
                    },
                ],
                "containers": [
                    {
                        "name": "main",
                        "image": "ubuntu:24.04",
                        "command": ["python", "-c"],
                        "args": ["print(1)"],
                        "env": [
                            {"name": "A", "value": "1"},
                            {"name": "KEY", "value": "cpln://secret/s.KEY"},
                            {
                                "name": "PW",
                                "valueFrom": {"secretKeyRef": {"name": "keys", "key": "pw"}},
                            },
                            {
                                "name": "CPU",
                                "valueFrom": {
                                    "resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}
                                },
                            },
                            {
                                "name": "NS",
                                "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
                            },
                        ],
                        "envFrom": [{"prefix": "C_", "configMapRef": {"name": "conf"}}],
                        "resources": {
                            "limits": {"cpu": "1", "memory": "1Gi"},
                            "requests": {"cpu": "100m"},
                        },
                        "workingDir": "/work",
                        "volumeMounts": [
                            {"name": "work", "mountPath": "/work"},
                            {"name": "keys", "mountPath": "/keys"},
                            {"name": "data", "mountPath": "/data"},
                            {"name": "both", "mountPath": "/both/a", "subPath": "a"},
                        ],
                        "lifecycle": {"preStop": {"exec": {"command": ["sync"]}}},
                    },
                    {"name": "proxy", "image": "proxy:1"},
                ],
            },
        },
    },
}
NATIVE = changed(
    native_job(),
    ("description", "Nightly."),
    ("tags", {"team": "data", "cpln/relaxMemoryToCpuRatio": "true"}),
    ("spec.identityLink", "//gvc/dev/identity/etl"),
    (
        "spec.job",
        {
            "schedule": "0 3 * * *",
            "concurrencyPolicy": "Forbid",
            "historyLimit": 3,
            "activeDeadlineSeconds": 60,
        },
    ),
    ("spec.defaultOptions", {"suspend": True, "capacityAI": False, "timeoutSeconds": 60}),
    ("spec.rolloutOptions", {"terminationGracePeriodSeconds": 60}),
    ("spec.securityOptions", {"runAsUser": 1}),
    (
        "spec.firewallConfig",
        {
            "external": {"outboundAllowCIDR": ["10.0.0.0/8"]},
            "internal": {"inboundAllowType": "none"},
        },
    ),
    ("spec.containers[0].env", [{"name": "A", "value": "1"}]),
    ("spec.containers[0].cpu", "100m"),
    ("spec.containers[0].memory", "256Mi"),
    ("spec.containers[0].minCpu", "50m"),
    ("spec.containers[0].volumes", [{"uri": "scratch://x", "path": "/x"}]),
    ("spec.containers[0].ports", [{"number": 8080, "protocol": "http"}]),
    ("spec.containers[1]", {"name": "proxy", "image": "proxy:1"}),
)

_HARD = [
    math.nan,
    math.inf,
    2**63,
    10**4000,
    "\ud800",
    "\0",
    "x" * 5000,
    date(2026, 1, 1),
    {1},
    b"x",
    (),
    -1,
    0,
    "",
    True,
]
_KEYS = st.sampled_from(
    [
        "kind",
        "spec",
        "name",
        "env",
        "value",
        "containers",
        "resources",
        "limits",
        "cpu",
        "emptyDir",
        "lifecycle",
        "ports",
        "tags",
    ]
)
_TEXTS = st.sampled_from(["Job", "workload", "cron", "1Gi", "100m", "0", "main", "batch/v1", "/x"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _TEXTS
ANYTHING = st.recursive(
    SCALARS | st.sampled_from(_HARD),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_KEYS | st.text() | st.none() | st.integers(), inner, max_size=6)
    ),
    max_leaves=20,
)

_PLAUSIBLE: st.SearchStrategy[Any] = st.sampled_from([
    None, True, False, 0, 1, 25, 600, 900, 65_534, "", "a", "main", "x" * 49, "x" * 256, "/work",
    "/x/y", "25m", "1", "32Mi", "Allow", "OnFailure", "same-gvc", "etl-2", "//gvc/dev/identity/x",
    "cpln://secret/s", "scratch://y", "//image/a:1", "8Gi", [], ["a"], ["a", "b"], {}, {"a": "b"},
    {"cpu": "1"}, {"name": "x", "image": "y"}, {"name": "x", "value": "y"},
])  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document something stands."""
    entries = list(
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, inner in entries for place in places(inner, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    key, *rest = path
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[key] = _with(value[key], tuple(rest), other)
    return copied


@st.composite
def nearly_good(draw: st.DrawFn) -> Any:
    """A good manifest in which something, or two things, are replaced by anything."""
    document: Any = draw(st.sampled_from([KUBERNETES, NATIVE]))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        place = draw(st.sampled_from(places(document)))
        document = _with(
            document, place, draw(draw(st.sampled_from([_PLAUSIBLE, _PLAUSIBLE, ANYTHING])))
        )
    return document


_BESIDE = [
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "conf"},
        "data": {"a": "1", "b": "x: y"},
    },
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys"},
        "stringData": {"pw": "hush"},
    },
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}},
]
_PIECES = [
    "- ", ": ", "? ", "&a ", "*a", "<<: *a", "!!binary ", "!!set ", "!x ", "|\n", ">-\n", "---\n",
    "...\n", "{", "}", "[", "]", '"', "'", "#", "\t", "%", "@", "`", "{{ x }}", "{% if x %}",
    "$(A)", "null", "~", "yes", "0o17", "0x1F", "1_0", "1e400", ".inf", "2026-11-28", "\xe9",
    "\ufeff", "\U0001f600", "\x00", "\x85", "\u2028", "\r",
]  # fmt: skip


@st.composite
def yaml_texts(draw: st.DrawFn) -> str:
    """Draw the text of a nearly good manifest, alone or with others beside it.

    Something in it is added, left out or doubled.
    """
    documents = [draw(nearly_good() | st.sampled_from([KUBERNETES, NATIVE]))]
    documents += draw(st.lists(st.sampled_from(_BESIDE), max_size=2))
    text = _dumped(draw, draw(st.permutations(documents)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 4]))):
        text = _edited(draw, text)
    return text


def _dumped(draw: st.DrawFn, documents: list[Any]) -> str:
    try:
        text: str = yaml.safe_dump_all(
            documents,
            default_flow_style=draw(st.sampled_from([False, False, None, True])),
            indent=draw(st.integers(1, 8)),
            width=draw(st.sampled_from([20, 80, 1000])),
            allow_unicode=draw(st.booleans()),
            sort_keys=draw(st.booleans()),
        )
    except (yaml.YAMLError, ValueError):  # what JSON or YAML cannot say
        return yaml.safe_dump(KUBERNETES)
    return text


def _edited(draw: st.DrawFn, text: str) -> str:
    lines = text.splitlines(keepends=True)
    index = draw(st.integers(0, max(len(lines) - 1, 0)))
    line = lines[index] if lines else ""
    match draw(st.sampled_from(["insert", "delete", "double", "indent", "cut", "swap"])):
        case "insert":
            at = draw(st.integers(0, len(line)))
            changed_line = line[:at] + draw(st.sampled_from(_PIECES)) + line[at:]
        case "delete":
            changed_line = ""
        case "double":
            changed_line = line * 2
        case "indent":
            changed_line = " " * draw(st.integers(0, 5)) + line.lstrip(" ")
        case "cut":
            return "".join(lines[:index]) + line[: draw(st.integers(0, len(line)))]
        case _:
            other = draw(st.integers(0, max(len(lines) - 1, 0)))
            if lines:
                lines[index], lines[other] = lines[other], lines[index]
            return "".join(lines)
    return "".join([*lines[:index], changed_line, *lines[index + 1 :]])


def shuffled(value: Any, random: Any) -> Any:
    """The same document with its keys in another order."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    return [shuffled(item, random) for item in value] if isinstance(value, list) else value


_WORDS = st.text("abc ", min_size=1, max_size=5)
_ENV = st.dictionaries(st.sampled_from("ABCD"), _WORDS, max_size=4)
_OVERRIDABLE: dict[str, st.SearchStrategy[Any]] = {
    "image": st.sampled_from(["a:1", "b:1"]),
    "command": st.none() | _WORDS,
    "args": st.lists(_WORDS, max_size=3).map(tuple),
    "env": _ENV,
    "cpu": st.sampled_from([None, "100m", "200m"]),
    "memory": st.sampled_from([None, "128Mi", "256Mi"]),
}
_EXTRA = st.fixed_dictionaries(
    {},
    optional={
        "workingDir": st.sampled_from(["/a", "/b"]),
        "volumes": st.just([{"uri": "cpln://secret/files", "path": "/files"}]),
        "minCpu": st.just("50m"),
        "minMemory": st.just("64Mi"),
        "inheritEnv": st.booleans(),
    },
)


@st.composite
def jobs_of_one_hash(draw: st.DrawFn, count: int = 2) -> list[JobManifest]:
    """Jobs that differ in no more than what a command can override and what only describes."""
    frame = draw(st.lists(_EXTRA, min_size=1, max_size=3))
    restart = draw(st.sampled_from(["Never", "OnFailure"]))
    found = []
    for _ in range(count):
        containers = tuple(
            ContainerSpec(name=f"c{n}", extra=extra, **draw(st.fixed_dictionaries(_OVERRIDABLE)))
            for n, extra in enumerate(frame)
        )
        deadline = draw(st.none() | st.integers(1, 9))
        name, tags = draw(st.none() | _WORDS), draw(st.dictionaries(_WORDS, _WORDS, max_size=2))
        found.append(
            JobManifest(
                containers,
                name=name,
                active_deadline_seconds=deadline,
                tags=tags,
                restart_policy=restart,
            )
        )
    return found


def variables() -> st.SearchStrategy[dict[str, str]]:
    """Variables that a run adds to those of its manifest."""
    return _ENV
