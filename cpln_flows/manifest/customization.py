"""Apply an infrastructure block's fields and a JSON patch to a Kubernetes Job. Pure.

Prefect 2 called the fields shortcuts: each stands for one place in the manifest. The patch
(RFC 6902) comes last and may change whatever the shortcuts have written.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonpatch
import jsonpointer

from cpln_flows.errors import Fault, ManifestError
from cpln_flows.manifest import yaml_text
from cpln_flows.manifest.document import describe, text_at

MOST_OPERATIONS = 200
"""More than any manifest needs; each operation is applied to a copy of the document."""

_FIELD, _KIND = "customizations", "Job"
_OPERATION = 'an operation such as {"op": "add", "path": "/metadata/labels/team", "value": "data"}'


@dataclass(frozen=True)
class Shortcuts:
    """The values that the fields of an infrastructure block put into its manifest.

    Attributes:
        command: Arguments of the first container.
        env: Variables of the first container; a variable without a value is removed.
        image: Image of the first container.
        labels: Labels of the job.
        name: Prefix for the names of its jobs.
        service_account: Name of the identity.
    """

    command: Sequence[str] = ()
    env: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    image: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    service_account: str | None = None


def base_job() -> dict[str, Any]:
    """Return the manifest to which the shortcuts apply if no other is given."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "prefect-job", "env": []}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": {}},
        "spec": {"parallelism": 1, "completions": 1, "template": {"spec": pod}},
    }


def operations(value: object) -> list[dict[str, Any]]:
    """Return a JSON patch as the list of its operations.

    Args:
        value: The list, or one operation, or either of them as JSON or YAML text, or a patch object
            of a library.

    Raises:
        ManifestError: The value is not a patch; the error lists every faulty operation.

    Example:
        >>> operations('[{"op": "remove", "path": "/spec/parallelism"}]')
        [{'op': 'remove', 'path': '/spec/parallelism'}]
    """
    found = _decoded(value) if isinstance(value, str | bytes) else getattr(value, "patch", value)
    found = [found] if isinstance(found, Mapping) else found
    if found is None:
        return []
    if not isinstance(found, list | tuple):
        raise ManifestError(
            [Fault(_FIELD, f"expected a list of operations (RFC 6902), found {describe(found)}")]
        )
    if len(found) > MOST_OPERATIONS:
        most = f"there are {len(found):,} operations, and at most {MOST_OPERATIONS:,} are allowed"
        raise ManifestError([Fault(_FIELD, most)])
    if faults := [
        Fault(_place(index), wrong)
        for index, operation in enumerate(found)
        if (wrong := _wrong(operation)) is not None
    ]:
        raise ManifestError(faults)
    return [dict(operation) for operation in found]


def customized(
    job: Mapping[str, Any], shortcuts: Shortcuts, patch: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a manifest with shortcuts and a patch applied to it.

    The conversion reports malformed parts of the manifest; they are left alone here.

    Args:
        job: Manifest of a Kubernetes Job.
        shortcuts: Values of the fields of the block.
        patch: Operations of a JSON patch.

    Raises:
        ManifestError: The manifest is not a Kubernetes Job, or an operation cannot be applied; the
            error names the operation.

    Example:
        >>> place = "/spec/template/spec/containers/0/workingDir"
        >>> patch = [{"op": "add", "path": place, "value": "/srv"}]
        >>> made = customized(base_job(), Shortcuts(image="busybox", env={"A": "1"}), patch)
        >>> (container,) = made["spec"]["template"]["spec"]["containers"]
        >>> container["env"], container["image"], container["workingDir"]
        ([{'name': 'A', 'value': '1'}], 'busybox', '/srv')
    """
    made: dict[str, Any] = copy.deepcopy(dict(job))
    if made.get("kind") != _KIND:
        wrong = (
            f"expected {_KIND}, to which the fields of the block apply,"
            f" found {describe(made.get('kind'))}"
        )
        raise ManifestError([Fault("job.kind", wrong)])
    _shorten(made, shortcuts)
    for index, operation in enumerate(patch):
        made = _applied(made, operation, index)
    return made


def pod_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod of a Kubernetes Job, to be changed in place.

    If the manifest is malformed, the pod is an empty one of its own.
    """
    found: Any = job
    for key in ("spec", "template", "spec"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def container_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first container of a Kubernetes Job, to be changed in place.

    If there is none, the container is an empty one of its own.
    """
    found = pod_of(job).get("containers")
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}


def _shorten(job: dict[str, Any], shortcuts: Shortcuts) -> None:
    pod, container = pod_of(job), container_of(job)
    if shortcuts.labels or shortcuts.name:
        metadata = job.setdefault("metadata", {})
        if isinstance(metadata, dict):
            labels = metadata.get("labels") or {}
            if isinstance(labels, dict):
                metadata["labels"] = labels | dict(shortcuts.labels)
            if shortcuts.name:
                metadata["generateName"] = f"{shortcuts.name}-"
    if shortcuts.service_account:
        pod["serviceAccountName"] = shortcuts.service_account
    if shortcuts.image:
        container["image"] = shortcuts.image
    if shortcuts.command:
        container["args"] = list(shortcuts.command)
    if isinstance(env := container.get("env") or [], list | dict):
        container["env"] = _environment(env, shortcuts.env)


def _environment(own: list[Any] | dict[str, Any], more: Mapping[str, str | None]) -> list[Any]:
    entries = (
        [{"name": name, "value": value} for name, value in own.items()]
        if isinstance(own, dict)
        else own
    )
    kept = [entry for entry in entries if text_at(entry, "name") not in more]
    return [
        *kept,
        *({"name": name, "value": value} for name, value in more.items() if value is not None),
    ]


def _applied(document: dict[str, Any], operation: Mapping[str, Any], index: int) -> dict[str, Any]:
    try:
        made = jsonpatch.JsonPatch([dict(operation)]).apply(document)
    except (
        jsonpatch.JsonPatchException,
        jsonpointer.JsonPointerException,
        TypeError,
        ValueError,
    ) as error:
        raise ManifestError(
            [Fault(_place(index), f"cannot be applied: {_reason(error)}")]
        ) from None
    if not isinstance(made, dict):
        raise ManifestError([Fault(_place(index), "leaves no object as the manifest")])
    # Copying a document into itself doubles it, and a few dozen such copies fill any memory.
    if len(json.dumps(made, default=str)) > yaml_text.MOST_BYTES:
        raise ManifestError([Fault(_place(index), "makes the manifest longer than 1 MiB")])
    return made


def _reason(error: Exception) -> str:
    # The library's message for a failed test quotes the document, which may contain secrets.
    if isinstance(error, jsonpatch.JsonPatchTestFailed):
        return "the test has failed: the manifest has a different value there"
    return str(error)


def _decoded(text: str | bytes) -> Any:
    try:
        documents = yaml_text.load(text) if text.strip() else [[]]
    except ValueError as error:
        raise ManifestError([Fault(_FIELD, f"expected JSON or YAML: {error}")]) from None
    return documents[0] if len(documents) == 1 else documents


def _wrong(operation: object) -> str | None:
    """Return what is wrong with an operation, regardless of the document."""
    if not isinstance(operation, Mapping):
        return f"expected {_OPERATION}, found {describe(operation)}"
    try:
        jsonpatch.JsonPatch([dict(operation)])
    except (
        jsonpatch.JsonPatchException,
        jsonpointer.JsonPointerException,
        TypeError,
        ValueError,
    ) as error:
        return f"expected {_OPERATION}: {error}"
    return None


def _place(index: int) -> str:
    return f"{_FIELD}[{index}]"
