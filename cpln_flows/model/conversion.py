"""From a document to a job manifest: which kind it is, and YAML before that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from cpln_flows.errors import Fault, ManifestError
from cpln_flows.model import kubernetes, native
from cpln_flows.model.manifest import JobManifest


def convert(document: object, *, gvc: str) -> JobManifest:
    """Read a manifest: a Kubernetes Job or a native cron workload.

    Args:
        document: The manifest, as decoded from YAML or JSON.
        gvc: Where it shall run; links of identities are made with it.

    Raises:
        ManifestError: It cannot be run on the platform; every fault is named, with its path.
    """
    if not isinstance(document, Mapping):
        raise ManifestError([Fault("", f"expected an object, found {type(document).__name__}")])
    kind = document.get("kind")
    if kind == "workload":
        return native.convert(document, gvc=gvc)
    if kind == "Job":
        return kubernetes.convert(document, gvc=gvc)
    found = "nothing" if kind is None else repr(kind)
    raise ManifestError([Fault("kind", f"expected Job (of Kubernetes) or workload (of Control Plane), found {found}")])


def parse_yaml(text: str, *, source: str) -> Mapping[str, Any]:
    """Decode one document of YAML or JSON.

    Args:
        text: The document.
        source: Where it comes from, for the error.

    Raises:
        ManifestError: It is not YAML, or not exactly one object.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ManifestError([Fault(source, f"{where}not YAML: {problem}")]) from None
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise ManifestError([Fault(source, f"expected one document that is an object, found {_count(documents)}")])
    return documents[0]


def _count(documents: list[Any]) -> str:
    return f"{len(documents)} documents" if len(documents) != 1 else f"a {type(documents[0]).__name__}"
