"""Convert a native cron workload into a job: pass its fields on, and check those that matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cpln_flows.errors import ManifestError
from cpln_flows.manifest import containers, limits
from cpln_flows.manifest.containers import check_containers, tags_of
from cpln_flows.manifest.document import Reader, describe
from cpln_flows.manifest.manifest import OPEN_OUTBOUND, ContainerSpec, JobManifest

_Carried = Mapping[str, Callable[[Reader, str], object]]
"""Fields that are passed on, each with the function that checks its type."""


def _objects(reader: Reader, key: str) -> list[Reader]:
    return list(reader.children(key))


_READ_ONLY = ("id", "version", "created", "lastModified", "links", "status", "health")
_SPEC: _Carried = {
    "loadBalancer": Reader.child,
    "sidecar": Reader.child,
    "requestRetryPolicy": Reader.child,
    "rolloutOptions": Reader.raw,  # checked separately, for its bounds
    "securityOptions": Reader.raw,
    "localOptions": _objects,
    "supportDynamicTags": Reader.flag,
    "extras": Reader.raw,
}
_OPTIONS: _Carried = {
    "autoscaling": Reader.child,
    "multiZone": Reader.child,
    "timeoutSeconds": lambda reader, key: reader.number(key, 1, limits.TIMEOUT_SECONDS),
    "capacityAIUpdateMinutes": lambda reader, key: reader.number(key, 1, 2**31 - 1),
    "capacityAI": Reader.flag,
    "debug": Reader.flag,
    "spot": Reader.flag,
}
_CONTAINER: _Carried = {
    "inheritEnv": Reader.flag,
    "ports": Reader.raw,  # checked separately, one by one
    "readinessProbe": Reader.child,
    "livenessProbe": Reader.child,
    "metrics": Reader.child,
    "gpu": Reader.child,
}
_EXTERNAL: _Carried = {
    "inboundAllowCIDR": Reader.texts,
    "inboundBlockedCIDR": Reader.texts,
    "outboundAllowCIDR": Reader.texts,
    "outboundAllowHostname": Reader.texts,
    "outboundAllowPort": _objects,
    "outboundBlockedCIDR": Reader.texts,
    "http": Reader.child,
}
_INTERNAL: _Carried = {
    "inboundAllowType": lambda reader, key: reader.choice(
        key, "none", "same-gvc", "same-org", "workload-list"
    ),
    "inboundAllowWorkload": Reader.texts,
}
_OUTBOUND = ("outboundAllowCIDR", "outboundAllowHostname", "outboundAllowPort")
_AMOUNTS = {
    "cpu": limits.cpu,
    "memory": limits.memory,
    "minCpu": limits.cpu,
    "minMemory": limits.memory,
}
_LEAST = {"minCpu": ("cpu", limits.DEFAULT_CPU), "minMemory": ("memory", limits.DEFAULT_MEMORY)}


def convert(root: Reader, *, gvc: str) -> JobManifest:
    """Convert a cron workload.

    Raises:
        ManifestError: The platform cannot run it as a job; the error lists every fault.
    """
    root.accept("kind", *_READ_ONLY)
    fields: dict[str, Any] = {
        "name": _name(root, gvc),
        "tags": _tags(root),
        "description": _description(root),
    }
    spec = root.child("spec")
    if (kind := spec.text("type", required=True)) not in ("cron", None):
        spec.fault(
            "type",
            f"expected cron, found {describe(kind)}: only a workload of type cron can run jobs;"
            " the type cannot be changed",
        )
    found = [(reader, _container(reader)) for reader in spec.children("containers")]
    check_containers(found, spec, relaxed=fields["tags"].get(limits.RELAXED_RATIO_TAG) == "true")
    fields |= _options(spec) | _job(spec.child("job"))
    if fields["job_type"] == "cron" and "schedule" not in fields:
        spec.fault("job.schedule", "is missing; a job that is not suspended runs on a schedule")
    fields |= {
        "identity": _identity(spec, gvc),
        "firewall": _firewall(spec),
        "extra_spec": _carried(spec, _SPEC),
    }
    _check_bounds(spec, relaxed=fields["tags"].get(limits.RELAXED_GRACE_TAG) == "true")
    spec.finish()
    root.finish()
    if root.faults:
        raise ManifestError(root.faults)
    return JobManifest(containers=tuple(container for _, container in found), **fields)


def _carried(reader: Reader, table: _Carried) -> dict[str, Any]:
    """Return the fields that are passed on, with integers and booleans parsed from strings."""
    found = {key: look(reader, key) for key, look in table.items()}
    raw = {key: reader.raw(key) for key in table}
    return {
        key: found[key] if isinstance(found[key], bool | int) else value
        for key, value in raw.items()
        if value is not None
    }


def _name(root: Reader, gvc: str) -> str | None:
    name = root.text("name")
    if name is not None and (wrong := limits.workload_base(name)):
        root.fault("name", wrong)
    if (found := root.text("gvc")) not in (None, gvc):
        root.fault("gvc", f"expected {gvc!r} or nothing, found {describe(found)}")
    return name


def _tags(root: Reader) -> dict[str, str]:
    tags = tags_of(root, "tags")
    if len(tags) > (most := limits.TAGS - limits.OWN_TAGS):
        root.fault(
            "tags",
            f"there are {len(tags)}, the platform leaves room for {most} besides those of this"
            " library",
        )
    return tags


def _description(root: Reader) -> str | None:
    text = root.text("description")
    if text is not None and (wrong := limits.description(text)):
        root.fault("description", wrong)
    return text


def _options(spec: Reader) -> dict[str, Any]:
    options = spec.child("defaultOptions")
    suspended = options.flag("suspend")
    carried = _carried(options, _OPTIONS)
    options.finish()
    return {"job_type": "cron" if suspended is False else "standard", "options": carried}


def _job(job: Reader) -> dict[str, Any]:
    found = {
        "schedule": job.text("schedule"),
        "concurrency_policy": job.choice("concurrencyPolicy", "Forbid", "Replace", "Allow"),
        "history_limit": job.number("historyLimit", 1, limits.HISTORY),
        "restart_policy": job.choice("restartPolicy", "Never", "OnFailure"),
        "active_deadline_seconds": job.number("activeDeadlineSeconds", 1, limits.DEADLINE_SECONDS),
    }
    if found["schedule"] is not None and (wrong := limits.schedule(str(found["schedule"]))):
        job.fault("schedule", wrong)
    # The vendor's documentation mentions this field, but its schema does not have it.
    job.refuse("suspend", "set spec.defaultOptions.suspend instead")
    job.finish()
    return {name: value for name, value in found.items() if value is not None}


def _identity(spec: Reader, gvc: str) -> str | None:
    text = spec.text("identityLink")
    if text is None:
        return None
    link, wrong = limits.identity(text, gvc)
    if wrong or not text.startswith("/"):
        spec.fault(
            "identityLink", wrong or f"expected a link, found {describe(text)}; write {link}"
        )
    return link


def _firewall(spec: Reader) -> dict[str, Any]:
    """Read the firewall; by default, as for every job, only outbound traffic is allowed."""
    firewall = spec.child("firewallConfig")
    external, internal = firewall.child("external"), firewall.child("internal")
    found_external, found_internal = _carried(external, _EXTERNAL), _carried(internal, _INTERNAL)
    networks = external.raw("inboundAllowCIDR")
    if isinstance(networks, list) and len(networks) > limits.INBOUND_NETWORKS:
        external.fault(
            "inboundAllowCIDR",
            f"there are {len(networks)}, the platform allows {limits.INBOUND_NETWORKS}",
        )
    for reader in (external, internal, firewall):
        reader.finish()
    if not any(key in found_external for key in _OUTBOUND):
        found_external["outboundAllowCIDR"] = list(OPEN_OUTBOUND["external"]["outboundAllowCIDR"])
    closed: dict[str, Any] = {key: [] for key in OPEN_OUTBOUND["external"]}
    return {
        "external": {**closed, **found_external},
        "internal": {**OPEN_OUTBOUND["internal"], **found_internal},
    }


def _check_bounds(spec: Reader, *, relaxed: bool) -> None:
    most = limits.RELAXED_GRACE_SECONDS if relaxed else limits.TERMINATION_GRACE_SECONDS
    _check_number(spec, "rolloutOptions", "terminationGracePeriodSeconds", 0, most)
    for key in ("runAsUser", "filesystemGroupId"):
        _check_number(spec, "securityOptions", key, 1, 65_534)


def _check_number(spec: Reader, part: str, key: str, least: int, most: int) -> None:
    """Check an integer of an object that is passed on, and parse it if it is a string."""
    number, carried = spec.child(part).number(key, least, most), spec.raw(part)
    if number is not None and isinstance(carried, dict):
        carried[key] = number  # changes our copy of the document


def _container(reader: Reader) -> ContainerSpec:
    extra = _carried(reader, _CONTAINER)
    name, image, command = (
        reader.text("name", required=True),
        reader.text("image", required=True),
        reader.text("command"),
    )
    if image is not None and (wrong := limits.image(image)):
        reader.fault("image", wrong)
    for key, text in (("name", name), ("command", command)):
        if text == "":
            reader.fault(
                key,
                "is empty; give a command or remove the field"
                if key == "command"
                else "is empty; expected a name",
            )
    _check_ports(reader)
    amounts = _amounts(reader)
    extra |= {key: amounts.pop(key) for key in _LEAST}
    extra |= {
        "workingDir": containers.working_folder(reader),
        "volumes": _volumes(reader),
        "lifecycle": containers.lifecycle(reader) or None,
    }
    spec = ContainerSpec(
        name=name or "",
        image=image or "",
        command=command,
        args=tuple(reader.texts("args")),
        env=containers.environment(reader),
        cpu=amounts["cpu"],
        memory=amounts["memory"],
        extra={key: value for key, value in extra.items() if value is not None},
    )
    reader.finish()
    return spec


def _amounts(reader: Reader) -> dict[str, str | None]:
    found = {key: containers.amount(reader, key, rule) for key, rule in _AMOUNTS.items()}
    for least, (most, default) in _LEAST.items():
        if (low := found[least]) is None:
            continue
        high = found[most] or default
        if not limits.least_within_most(low, high):
            by_default = "" if found[most] else ", the platform's default"
            reader.fault(least, f"{low} is more than {most}, {high}{by_default}")
    return found


def _check_ports(reader: Reader) -> None:
    for entry in reader.children("ports"):
        number = entry.raw("number")
        if not isinstance(number, int) or isinstance(number, bool):
            entry.fault("number", f"expected an integer, found {describe(number)}")
        elif wrong := limits.port(number):
            entry.fault("number", wrong)
        entry.choice("protocol", "http", "http2", "grpc", "tcp")
        entry.finish()


def _volumes(reader: Reader) -> list[dict[str, Any]] | None:
    paths = []
    for volume in reader.children("volumes"):
        uri, path = volume.text("uri", required=True), volume.text("path", required=True)
        volume.text("recoveryPolicy")
        if uri is not None and (wrong := limits.volume(uri)):
            volume.fault("uri", wrong)
        if path is not None:
            paths.append(path)
            if wrong := limits.mount(path):
                volume.fault("path", wrong)
        volume.finish()
    if wrong := limits.mounts(paths):
        reader.fault("volumes", wrong)
    volumes: list[dict[str, Any]] | None = reader.raw("volumes")
    return volumes or None
