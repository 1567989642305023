"""The fields of a Kubernetes Job as Kubernetes publishes them, and what becomes of each."""

from __future__ import annotations

import copy
import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from lightkube.models import batch_v1

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.conversion import convert
from cpln_flows.manifest.manifest import JobManifest
from tests.manifest.kubernetes.jobs import JOB, MAIN, POD
from tests.manifests import changed

SIDECAR = {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}
SECRET_KEY = {"name": "keys", "key": "pw"}
VOLUME = {"name": "vol", "emptyDir": {}}
AROUND: dict[str, list[tuple[str, Any]]] = {
    "spec.selector": [],
    f"{MAIN}.env[0]": [(f"{MAIN}.env", [{"name": "A"}])],
    f"{MAIN}.env[0].valueFrom.secretKeyRef": [
        (f"{MAIN}.env", [{"name": "A", "valueFrom": {"secretKeyRef": SECRET_KEY}}])
    ],
    f"{MAIN}.env[0].valueFrom.configMapKeyRef": [
        (f"{MAIN}.env", [{"name": "A", "valueFrom": {"configMapKeyRef": SECRET_KEY}}])
    ],
    f"{MAIN}.env[0].valueFrom.resourceFieldRef": [
        (
            f"{MAIN}.env",
            [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
        )
    ],
    f"{MAIN}.env[0].valueFrom.fieldRef": [
        (f"{MAIN}.env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])
    ],
    f"{MAIN}.envFrom[0]": [(f"{MAIN}.envFrom", [{"secretRef": {"name": "keys"}}])],
    f"{MAIN}.envFrom[0].configMapRef": [(f"{MAIN}.envFrom", [{"configMapRef": {"name": "keys"}}])],
    f"{MAIN}.volumeMounts[0]": [
        (f"{POD}.volumes", [{"name": "vol", "secret": {"secretName": "keys"}}]),
        (f"{MAIN}.volumeMounts", [{"name": "vol", "mountPath": "/vol"}]),
    ],
    f"{POD}.volumes[0]": [
        (f"{POD}.volumes", [{"name": "vol"}]),
        (f"{MAIN}.volumeMounts", [{"name": "vol", "mountPath": "/vol"}]),
    ],
}
for _place, _around in list(AROUND.items()):
    # A sidecar, as Kubernetes writes one: what becomes of a step is in the tests of steps.
    _own = [(path.replace(MAIN, f"{POD}.initContainers[0]"), value) for path, value in _around]
    AROUND[_place.replace(MAIN, f"{POD}.initContainers[0]")] = [
        (f"{POD}.initContainers", [SIDECAR]),
        *_own,
    ]
AROUND[f"{POD}.initContainers[0]"] = [(f"{POD}.initContainers", [SIDECAR])]
for _kind, _name in (
    ("secret", "secretName"),
    ("configMap", "name"),
    ("persistentVolumeClaim", "claimName"),
):
    _source: dict[str, Any] = {_name: "keys"}
    AROUND[f"{POD}.volumes[0].{_kind}"] = [
        (f"{POD}.volumes", [{"name": "vol", _kind: _source}]),
        (f"{MAIN}.volumeMounts", [{"name": "vol", "mountPath": "/vol"}]),
    ]
    AROUND[f"{POD}.volumes[0].{_kind}.items[0]"] = [
        (
            f"{POD}.volumes",
            [{"name": "vol", _kind: _source | {"items": [{"key": "pw", "path": "pw"}]}}],
        ),
        (f"{MAIN}.volumeMounts", [{"name": "vol", "mountPath": "/vol"}]),
    ]
    _part = {_kind: {"name": "keys"}}
    for _place, _items in (("", {}), (".items[0]", {"items": [{"key": "pw", "path": "pw"}]})):
        AROUND[f"{POD}.volumes[0].projected.sources[0].{_kind}{_place}"] = [
            (
                f"{POD}.volumes",
                [{"name": "vol", "projected": {"sources": [{_kind: {"name": "keys"} | _items}]}}],
            ),
            (f"{MAIN}.volumeMounts", [{"name": "vol", "mountPath": "/vol"}]),
        ]

VALUES: dict[str, Any] = {
    "spec.selector.matchLabels": {"app": "x"},
    f"{POD}.restartPolicy": "OnFailure",
    f"{POD}.serviceAccountName": "runner",
    f"{POD}.serviceAccount": "runner",
    f"{MAIN}.workingDir": "/app",
    f"{MAIN}.volumeMounts[0].mountPath": "/other",
    f"{MAIN}.volumeMounts[0].name": "other",
    f"{MAIN}.env[0].valueFrom.fieldRef.fieldPath": "metadata.namespace",
    f"{MAIN}.env[0].valueFrom.fieldRef.apiVersion": "v1",
    f"{MAIN}.env[0].valueFrom.resourceFieldRef.resource": "limits.memory",
    f"{MAIN}.env[0].valueFrom.resourceFieldRef.divisor": "1m",
    f"{MAIN}.resources.limits": {"cpu": "1"},
    f"{MAIN}.resources.requests": {"cpu": "100m"},
}


def outcomes() -> dict[str, Outcome]:
    """What becomes of each field."""
    return {path: outcome(path) for path in leaves()}


def leaves() -> list[str]:
    """The paths of all fields of a Job's specification; of what repeats within itself, once."""
    return list(_leaves(batch_v1.JobSpec, "spec", ()))


def _leaves(kind: type, path: str, above: tuple[type, ...]) -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind).items():
        inner, suffix = _inner(hint)
        place = f"{path}.{name.rstrip('_')}{suffix}"
        if _is_object(inner) and inner not in above:
            yield from _leaves(inner, place, (*above, kind))
        else:
            yield f"{path}.{name.rstrip('_')}"


def _is_object(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__struct_fields__")


def _inner(hint: Any) -> tuple[Any, str]:
    if typing.get_origin(hint) is typing.Union:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is list:
        return typing.get_args(hint)[0], "[0]"
    return hint, ""


def samples(path: str) -> list[Any]:
    """Values of a field's type that its neighbors allow."""
    known = VALUES.get(path.replace(f"{POD}.initContainers[0]", MAIN), VALUES.get(path))
    if known is not None:
        return [known]
    kind: Any = batch_v1.JobSpec
    suffix = ""
    for name in path.removeprefix("spec.").replace("[0]", "").split("."):
        hints = typing.get_type_hints(kind)
        kind, suffix = _inner(hints.get(name) or hints[f"{name}_"])
    if kind is bool:
        return [True, False]
    value: Any = {str: "abc", int: 2, float: 1.0}.get(kind, {"abc": "x"})
    return [[value]] if suffix else [value]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a field, and the sentence that says why."""

    kind: str
    said: str = ""


def outcome(path: str) -> Outcome:
    """What becomes of a job in which only this field is set."""
    around = next(
        (
            AROUND[prefix]
            for prefix in sorted(AROUND, key=len, reverse=True)
            if path.startswith(prefix)
        ),
        [],
    )
    found = [_outcome(path, around, value) for value in samples(path)]
    return next((one for one in found if one.kind != "without effect"), found[0])


def _outcome(path: str, around: list[tuple[str, Any]], value: Any) -> Outcome:
    before = _read(around, path)
    after = _read([*around, (path, value)], path)
    if isinstance(after, Outcome):
        return after
    said = [note.message for note in after.notes if _is_about(note.path, path)]
    if said:
        return Outcome("noted", said[0])
    if isinstance(before, Outcome) or dataclasses.replace(before, notes=()) != dataclasses.replace(
        after, notes=()
    ):
        return Outcome("converted")
    return Outcome("without effect")


def _read(changes: list[tuple[str, Any]], path: str) -> JobManifest | Outcome:
    try:
        return convert(changed(JOB, *copy.deepcopy(changes)), gvc="dev")
    except ManifestError as error:
        about = [fault.message for fault in error.faults if _is_about(fault.path, path)]
        return Outcome("refused", about[0] if about else f"UNRELATED {error}")


def _is_about(place: str, path: str) -> bool:
    return (
        place == path
        or path.startswith((f"{place}.", f"{place}["))
        or place.startswith((f"{path}.", f"{path}["))
    )


def table(found: Mapping[str, Outcome]) -> str:
    """Return the outcome of each field as a Markdown table.

    Fields of one object that share an outcome are one row.
    """
    rows = []
    for place, same in _rows(found):
        said = re.sub(r", found [^:]*", "", same.said) if same.kind != "converted" else ""
        rows.append(f"| `{place}` | {same.kind} | {said.replace('|', '/')} |")
    return "\n".join([*HEAD, *rows, ""])


HEAD = [
    "# What becomes of the fields of a Kubernetes Job",
    "",
    "Each field of a `batch/v1` Job has one of these outcomes:",
    "",
    "- *converted*: the job does on Control Plane what it does on Kubernetes;",
    (
        "- *noted*: it has no effect; the log and `preview()` say so,"
        " and `strict=True` makes it an error;"
    ),
    (
        "- *refused*: without it the job would do, or be allowed, something else;"
        " the error says what to do;"
    ),
    "- *without effect*: Kubernetes writes it by itself, or it says what is so anyway.",
    "",
    (
        "`poe fields` makes this table from the code and from the published schema."
        " Init containers are sidecars here"
    ),
    (
        "(`restartPolicy: Always`);"
        " others become steps before the main command where that does the same."
    ),
    "",
    "| field | outcome | why, and what to do |",
    "| --- | --- | --- |",
]


def _rows(found: Mapping[str, Outcome]) -> Iterator[tuple[str, Outcome]]:
    done: set[str] = set()
    for path, one in found.items():
        if path in done:
            continue
        place = path
        while (above := place.rpartition(".")[0]) and above.count(".") > 1:
            below = [
                other
                for other in found
                if other.startswith((f"{above}.", above + "[")) or other == above
            ]
            if any(found[other] != one for other in below):
                break
            place = above
            done.update(below)
        done.add(path)
        yield place, one
