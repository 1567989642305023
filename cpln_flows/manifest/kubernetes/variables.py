"""Environment variables with values from secrets, ConfigMaps, pod fields and container resources.

On the platform, a ConfigMap is a secret of type dictionary with the same name, as the vendor's
``cpln convert`` creates it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cpln_flows.manifest import containers, limits, quantities
from cpln_flows.manifest.document import Reader, describe
from cpln_flows.manifest.kubernetes import fields
from cpln_flows.manifest.manifest import EnvSource

_REFERENCE = "cpln://reference/"
_OF_WORKLOAD = frozenset({"metadata.name"})
_OF_POD = (
    "metadata.uid",
    "spec.nodeName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_KNOWN = (
    "metadata.name, metadata.namespace, metadata.labels['KEY'], metadata.annotations['KEY'],"
    " spec.serviceAccountName"
)
_SUBSCRIPT = re.compile(r"metadata\.(?P<part>labels|annotations)\['(?P<name>[^']{1,253})'\]")
_DEFAULT_ACCOUNT = "default"


@dataclass(frozen=True)
class Pod:
    """The values of a pod that a variable may refer to.

    Attributes:
        gvc: The GVC in which the job runs, which serves as its namespace.
        account: Name of the service account.
        labels: Labels of the pod and of the job.
        annotations: Annotations of the pod and of the job.
    """

    gvc: str
    account: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def environment(container: Reader, pod: Pod, amounts: Mapping[str, str]) -> dict[str, str]:
    """Read the variables of a container.

    Args:
        container: The container.
        pod: The values that a variable may refer to.
        amounts: The resources of the container in the platform's form, such as
            ``{"limits.cpu": "500m"}``.
    """
    return containers.environment(
        container, lambda variable: _source(variable.child("valueFrom"), pod, amounts)
    )


def sources(container: Reader) -> tuple[EnvSource, ...]:
    """Read the secrets and ConfigMaps of which every key becomes a variable."""
    found = []
    for entry in container.children("envFrom"):
        prefix = entry.text("prefix") or ""
        given = [key for key in ("secretRef", "configMapRef") if entry.raw(key) is not None]
        if len(given) != 1:
            entry.fault("", "expected either secretRef or configMapRef")
        for key in given:
            reference = entry.child(key)
            if name := secret(reference, "name"):
                found.append(EnvSource(name, prefix, reference.path))
            fields.apply(reference, fields.REFERENCE)
            reference.finish()
        entry.finish()
    return tuple(found)


def secret(reader: Reader, key: str) -> str | None:
    """Read the name of a secret, or of a ConfigMap."""
    name = reader.text(key, required=True)
    if name is not None and (wrong := limits.secret_name(name)):
        reader.fault(key, wrong)
        return None
    return name


def secret_key(reader: Reader, key: str) -> str | None:
    """Read a key of a secret."""
    found = reader.text(key, required=True)
    if found is not None and (wrong := limits.secret_key(found)):
        reader.fault(key, wrong)
        return None
    return found


def _source(source: Reader, pod: Pod, amounts: Mapping[str, str]) -> str:
    fields.apply(source, fields.VARIABLE)
    found: Mapping[str, Callable[[Reader], str]] = {
        "secretKeyRef": _key_of,
        "configMapKeyRef": _key_of,
        "fieldRef": lambda reader: _field(reader, pod),
        "resourceFieldRef": lambda reader: _amount(reader, amounts),
    }
    text = ""
    for key, read in found.items():
        if source.raw(key) is not None:
            reader = source.child(key)
            text = read(reader)
            reader.finish()
    source.finish()
    return text


def _key_of(reference: Reader) -> str:
    name, key = secret(reference, "name"), secret_key(reference, "key")
    fields.apply(reference, fields.REFERENCE)
    return f"cpln://secret/{name}.{key}" if name and key else ""


def _field(reference: Reader, pod: Pod) -> str:
    reference.choice("apiVersion", "v1")
    path = reference.text("fieldPath", required=True) or ""
    if path == "metadata.namespace":
        return pod.gvc
    if path == "spec.serviceAccountName":
        return pod.account or _DEFAULT_ACCOUNT
    if match := _SUBSCRIPT.fullmatch(path):
        return (pod.labels if match["part"] == "labels" else pod.annotations).get(match["name"], "")
    if path in _OF_WORKLOAD:
        return f"{_REFERENCE}{path}"
    if path in _OF_POD:
        reference.fault(
            "fieldPath", f"{path} is not known before the job runs; determine it in the command"
        )
    elif path:
        reference.fault("fieldPath", f"expected one of {_KNOWN}, found {describe(path)}")
    return ""


def _amount(reference: Reader, amounts: Mapping[str, str]) -> str:
    """Return an amount as Kubernetes gives it to a variable: divided by the divisor, rounded up."""
    if reference.text("containerName") is not None:
        reference.fault(
            "containerName",
            "only the amounts of the container itself are known; write the amount as a value",
        )
    resource = reference.choice("resource", *amounts)
    raw = reference.raw("divisor")
    divisor = quantities.exact(1 if raw in (None, "", 0, "0") else raw)
    if divisor is None or divisor <= 0:
        reference.fault(
            "divisor", f"expected an amount such as 1, 1m or 1Mi, found {describe(raw)}"
        )
        return ""
    if resource is None:
        if reference.raw("resource") is None:
            reference.fault("resource", f"is missing; expected {' or '.join(amounts)}")
        return ""
    amount = quantities.exact(amounts[resource])
    return str(math.ceil(amount / divisor)) if amount is not None else ""
