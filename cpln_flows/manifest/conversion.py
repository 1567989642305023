"""Convert a document, or the YAML text of one, into a job manifest according to its kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cpln_flows.errors import Fault, ManifestError
from cpln_flows.manifest import native, plain, yaml_text
from cpln_flows.manifest.document import Reader, describe, describe_apart
from cpln_flows.manifest.kubernetes import job as kubernetes
from cpln_flows.manifest.manifest import JobManifest
from cpln_flows.manifest.source import Source, with_neighbors

_SHORT = 16
OF_A_CLIENT = (
    "; pass the object as plain JSON values:"
    " kubernetes.client.ApiClient().sanitize_for_serialization(job)"
)
_TEMPLATE = re.compile(r"\{\{|\{%|<%")


def convert(document: object, *, gvc: str, default_image: str | None = None) -> JobManifest:
    """Convert a manifest: a Kubernetes Job or CronJob, or a native cron workload.

    Args:
        document: The manifest, as decoded from YAML or JSON.
        gvc: The GVC in which it is to run, also used for links to identities.
        default_image: Image of a Kubernetes container that names none. Default: such a container is
            a fault.

    Raises:
        ManifestError: The platform cannot run the manifest; the error lists every fault with its
            path.
    """
    if not isinstance(document, Mapping):
        advice = OF_A_CLIENT if hasattr(document, "to_dict") else ""
        raise ManifestError(
            [Fault("", f"expected an object, found a {type(document).__name__}{advice}")]
        )
    faults: list[Fault] = []
    root = Reader(plain.copy(document, faults), "", faults)
    match root.raw("kind"):
        case "workload":
            return native.convert(root, gvc=gvc)
        case "Job":
            return kubernetes.convert(root, gvc=gvc, default_image=default_image)
        case "CronJob":
            return kubernetes.convert_cron_job(root, gvc=gvc, default_image=default_image)
        case kind:
            wrong = (
                "expected Job or CronJob (of Kubernetes) or workload (of Control Plane),"
                f" found {describe(kind)}"
            )
            if kind is None and (close := root.misspelled("kind")):
                wrong += f"; is it misspelled as {close!r}?"
            root.fault("kind", wrong)
            raise ManifestError(faults)


def parse_yaml(text: str | bytes, *, source: str) -> Mapping[str, Any]:
    """Decode one document of YAML or JSON.

    Args:
        text: The document; bytes are UTF-8, or UTF-16 with a byte order mark.
        source: Where the document comes from, for the error.

    Raises:
        ManifestError: The text is not YAML, is not exactly one object, or contains what JSON cannot
            express.
    """
    return parse_source(text, source=source).document


def parse_source(text: str | bytes, *, source: str) -> Source:
    """Decode the manifest in a file, which may also contain the ConfigMaps and Secrets it uses.

    Args:
        text: The content of the file; bytes are UTF-8, or UTF-16 with a byte order mark.
        source: Name of the file, for errors.

    Returns:
        The manifest, and the position of each of its fields in the file.

    Raises:
        ManifestError: The text is not YAML, is not one manifest, or contains what JSON cannot
            express.
    """
    try:
        documents = yaml_text.load(text)
    except ValueError as error:
        raise ManifestError([Fault(source, _unrendered(text) or f"not YAML: {error}")]) from None
    if len(documents) > 1:
        return with_neighbors([_plain(document) for document in documents], source, text)
    if not documents or not isinstance(documents[0], Mapping):
        kind = _kind_of(documents[0]) if documents else "0 documents"
        raise ManifestError(
            [Fault(source, f"expected one document that is an object, found {kind}")]
        )
    return Source(source, _plain(documents[0]), text)


def _plain(document: Any) -> Mapping[str, Any]:
    faults: list[Fault] = []
    found = plain.copy(document, faults) if isinstance(document, Mapping) else {}
    if faults:
        raise ManifestError(faults)
    return found


def _unrendered(text: str | bytes) -> str | None:
    """Report a document that seems to be an unrendered template, with the position."""
    lines = (text.decode(errors="replace") if isinstance(text, bytes) else text).splitlines()
    for number, line in enumerate(lines, 1):
        if found := _TEMPLATE.search(line):
            return (
                f"line {number}, column {found.start() + 1}: this is a template that has not been"
                " rendered; render it first"
            )
    return None


def _kind_of(document: object) -> str:
    # The wrong file may be one with a token, so a long string is not shown.
    return (
        describe_apart(document)
        if isinstance(document, str) and len(document) > _SHORT
        else describe(document)
    )
