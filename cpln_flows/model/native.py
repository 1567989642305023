"""From a native cron workload manifest to a job: passed on as it is, but for what would keep it from being one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpln_flows.errors import Fault, ManifestError
from cpln_flows.model import containers, limits
from cpln_flows.model.containers import check_containers, tags_of
from cpln_flows.model.manifest import OPEN_OUTBOUND, ContainerSpec, JobManifest
from cpln_flows.model.reader import Reader

_CARRIED_CONTAINER = (
    "inheritEnv", "minCpu", "minMemory", "volumes", "lifecycle", "ports", "readinessProbe", "livenessProbe", "metrics"
)  # fmt: skip
_CARRIED_SPEC = ("rolloutOptions", "securityOptions", "sidecar", "extras", "supportDynamicTags", "localOptions", "loadBalancer")
_READ_ONLY = ("id", "version", "created", "lastModified", "links", "status", "health", "description")


def convert(document: Mapping[str, Any], *, gvc: str) -> JobManifest:
    """Read a cron workload; raises ``ManifestError`` with every fault."""
    faults: list[Fault] = []
    root = Reader(document, "", faults)
    root.accept("kind", *_READ_ONLY)
    name, tags = root.text("name"), tags_of(root, "tags")
    if root.text("gvc") not in (None, gvc):
        root.fault("gvc", f"expected {gvc!r} or nothing, found {root.raw('gvc')!r}")
    spec = root.child("spec")
    if (kind := spec.text("type", required=True)) not in ("cron", None):
        spec.fault(
            "type", f"expected cron, found {kind!r}: only a workload of type cron can run jobs; the type cannot be changed"
        )
    job = _job_fields(spec.child("job"))
    options = dict(spec.child("defaultOptions")._value)  # noqa: SLF001 - carried over whole
    suspended = options.pop("suspend", True)
    if not isinstance(suspended, bool):
        spec.fault("defaultOptions.suspend", f"expected true or false, found {suspended!r}")
    firewall = spec.raw("firewallConfig")
    if firewall is not None and not isinstance(firewall, Mapping):
        spec.fault("firewallConfig", "expected an object")
    identity = spec.text("identityLink")
    if identity is not None and not identity.startswith("/"):
        spec.fault("identityLink", f"expected a link such as //gvc/{gvc}/identity/NAME, found {identity!r}")
    carried = {key: spec.raw(key) for key in _CARRIED_SPEC if spec.raw(key) is not None}
    found = [(reader, _container(reader)) for reader in spec.children("containers")]
    check_containers(found, spec, relaxed="cpln/relaxMemoryToCpuRatio" in tags)
    spec.finish()
    root.finish()
    if faults:
        raise ManifestError(faults)
    return JobManifest(
        containers=tuple(container for _, container in found),
        name=name,
        tags=tags,
        identity=identity,
        job_type="standard" if suspended else "cron",
        firewall=dict(firewall) if firewall else OPEN_OUTBOUND,
        options={key: value for key, value in options.items() if key not in ("capacityAI", "debug")},
        extra_spec=carried,
        **job,
    )


def _job_fields(job: Reader) -> dict[str, Any]:
    found = {
        "schedule": job.text("schedule"),
        "concurrency_policy": job.text("concurrencyPolicy"),
        "history_limit": job.number("historyLimit", 1, limits.HISTORY),
        "restart_policy": job.text("restartPolicy"),
        "active_deadline_seconds": job.number("activeDeadlineSeconds", 1, limits.DEADLINE_SECONDS),
    }
    for key, allowed in (("concurrencyPolicy", ("Forbid", "Replace", "Allow")), ("restartPolicy", ("Never", "OnFailure"))):
        if job.raw(key) not in (None, *allowed):
            job.fault(key, f"expected {' or '.join(allowed)}, found {job.raw(key)!r}")
    job.finish()
    return {name: value for name, value in found.items() if value is not None}


def _container(reader: Reader) -> ContainerSpec:
    extra = {key: reader.raw(key) for key in _CARRIED_CONTAINER if reader.raw(key) is not None}
    if folder := containers.working_folder(reader):
        extra["workingDir"] = folder
    spec = ContainerSpec(
        name=reader.text("name", required=True) or "",
        image=reader.text("image", required=True) or "",
        command=reader.text("command"),
        args=tuple(reader.texts("args")),
        env=containers.environment(reader, more=lambda _: None),
        cpu=containers.amount(reader, "cpu", limits.cpu),
        memory=containers.amount(reader, "memory", limits.memory),
        extra=extra,
    )
    reader.finish()
    return spec
