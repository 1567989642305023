"""A manifest in a file: the positions of its fields, and the ConfigMaps and Secrets beside it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cpln_flows.errors import Fault, ManifestError
from cpln_flows.manifest import yaml_text
from cpln_flows.manifest.document import describe, text_at
from cpln_flows.manifest.yaml_text import Marks

_JOBS = frozenset({"Job", "CronJob", "workload"})
_DATA = {"ConfigMap": ("data",), "Secret": ("data", "stringData")}
_REFERENCES = {
    "ConfigMap": ("configMapRef", "configMapKeyRef"),
    "Secret": ("secretRef", "secretKeyRef"),
}


@dataclass(frozen=True)
class Source:
    """The manifest in a file.

    Attributes:
        name: Name of the file.
        document: The manifest.
        text: Content of the file.
        index: Index of the manifest among the documents of the file.
    """

    name: str
    document: Mapping[str, Any]
    text: str | bytes = field(repr=False)
    index: int = 0

    def located(self, error: ManifestError) -> ManifestError:
        """Return an error with the position of each of its faults.

        That is the position of the field, or else of the object in which it is missing.
        """
        found = yaml_text.marks(self.text)
        marks = found[self.index] if self.index < len(found) else {}
        return ManifestError(
            [
                replace(fault, place=f"{self.name}:{_place(fault.path, marks)}")
                for fault in error.faults
            ]
        )


def _place(path: str, marks: Marks) -> str:
    while path and path not in marks:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    line, column = marks.get(path, (1, 1))
    return f"{line}:{column}"


def with_neighbors(documents: Sequence[Any], name: str, text: str | bytes) -> Source:
    """Return the one manifest among several documents, with its ConfigMaps and Secrets resolved.

    The variables get the values of a ConfigMap. Of a Secret only the names of its keys are used:
    the platform must have a secret of the same name.

    Raises:
        ManifestError: There is not exactly one job, or there is a document that is neither a job
            nor a ConfigMap nor a Secret.
    """
    jobs = [index for index, document in enumerate(documents) if text_at(document, "kind") in _JOBS]
    if len(jobs) != 1:
        wrong = (
            f"expected one Job, CronJob or workload, found {len(jobs)} in"
            f" {len(documents)} documents"
        )
        raise ManifestError([Fault(name, wrong)])
    others = [document for document in documents if text_at(document, "kind") not in _JOBS]
    if faults := [
        Fault(name, _not_beside(other)) for other in others if text_at(other, "kind") not in _DATA
    ]:
        raise ManifestError(faults)
    made = copy.deepcopy(dict(documents[jobs[0]]))
    for container in _containers(made):
        _fill(container, others)
    return Source(name, made, text, jobs[0])


def _not_beside(document: object) -> str:
    found = describe(document.get("kind") if isinstance(document, Mapping) else None)
    return (
        f"expected ConfigMaps and Secrets beside the job, found {found};"
        " apply it by itself, and remove it here"
    )


def _containers(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the containers of a Kubernetes Job or CronJob, and skip malformed parts."""
    spec: Any = document.get("spec")
    for key in (
        ("jobTemplate", "spec", "template", "spec")
        if document.get("kind") == "CronJob"
        else ("template", "spec")
    ):
        spec = spec.get(key) if isinstance(spec, Mapping) else None
    for part in ("containers", "initContainers"):
        found = spec.get(part) if isinstance(spec, Mapping) else None
        yield from (
            (container for container in found if isinstance(container, dict))
            if isinstance(found, list)
            else ()
        )


def _fill(container: dict[str, Any], neighbors: Sequence[Any]) -> None:
    sources, env = container.get("envFrom"), container.get("env")
    if isinstance(env, list):
        container["env"] = env = [_with_value(entry, neighbors) for entry in env]
    if not isinstance(sources, list) or not isinstance(env, list | None):
        return
    expanded: dict[str, dict[str, Any]] = {}
    for source in sources:
        entries = _entries(source, neighbors)
        if entries is None:
            # Only the platform knows this source. Later sources override earlier ones, so none can
            # be resolved before this one is.
            return
        expanded |= entries
    written = {text_at(entry, "name") for entry in env or ()}
    container["env"] = [
        *(entry for name, entry in expanded.items() if name not in written),
        *(env or ()),
    ]
    del container["envFrom"]


def _entries(source: Any, neighbors: Sequence[Any]) -> dict[str, dict[str, Any]] | None:
    """Return the variables of a source, or ``None`` if it is not in the file."""
    if not isinstance(source, Mapping):
        return None
    prefix = source.get("prefix") or ""
    for kind, (whole, by_key) in _REFERENCES.items():
        reference = source.get(whole)
        name = reference.get("name") if isinstance(reference, Mapping) else None
        if (data := _data(kind, name, neighbors)) is not None and isinstance(prefix, str):
            return {
                f"{prefix}{key}": {"name": f"{prefix}{key}", "value": value}
                if kind == "ConfigMap"
                else {"name": f"{prefix}{key}", "valueFrom": {by_key: {"name": name, "key": key}}}
                for key, value in data.items()
            }
    return None


def _with_value(entry: Any, neighbors: Sequence[Any]) -> Any:
    """Return a variable with its value, if a ConfigMap in the file has it."""
    source = entry.get("valueFrom") if isinstance(entry, Mapping) else None
    reference = source.get("configMapKeyRef") if isinstance(source, Mapping) else None
    if not isinstance(reference, Mapping):
        return entry
    data = _data("ConfigMap", reference.get("name"), neighbors) or {}
    key = reference.get("key")
    return (
        {"name": entry.get("name"), "value": data[key]}
        if isinstance(key, str) and key in data
        else entry
    )


def _data(kind: str, name: object, neighbors: Sequence[Any]) -> dict[str, Any] | None:
    for neighbor in neighbors:
        metadata = neighbor.get("metadata")
        if (
            neighbor.get("kind") == kind
            and isinstance(metadata, Mapping)
            and name is not None
            and metadata.get("name") == name
        ):
            parts = (neighbor.get(part) for part in _DATA[kind])
            return {
                str(key): value
                for part in parts
                if isinstance(part, Mapping)
                for key, value in part.items()
            }
    return None
