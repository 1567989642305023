"""From a Kubernetes Job to a job of the platform. What cannot be expressed is a fault with its path, never left out silently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cpln_flows.errors import Fault, ManifestError
from cpln_flows.model import containers, limits
from cpln_flows.model.containers import check_containers, tags_of
from cpln_flows.model.manifest import ContainerSpec, JobManifest
from cpln_flows.model.reader import Reader

_ONE_RUN = "a job on Control Plane is one run; start several jobs instead"
_SCHEDULING = "where a job runs is chosen by its location; remove it"
_NO_PROBES = "a cron workload has no probes; remove it"
_VALUE_ONLY = "only plain values are supported: give `value`, such as cpln://secret/NAME.KEY for a secret"


def convert(document: Mapping[str, Any], *, gvc: str) -> JobManifest:
    """Read a Kubernetes Job; raises ``ManifestError`` with every fault."""
    faults: list[Fault] = []
    root = Reader(document, "", faults)
    root.accept("kind", "status")
    if root.text("apiVersion", required=True) not in ("batch/v1", None):
        root.fault("apiVersion", f"expected batch/v1, found {root.raw('apiVersion')!r}")
    metadata = root.child("metadata")
    name = metadata.text("name") or metadata.text("generateName")
    tags = tags_of(metadata, "labels") | tags_of(metadata, "annotations")
    if metadata.text("namespace") not in (None, gvc, "default"):
        metadata.fault("namespace", f"expected the GVC {gvc!r} or nothing, found {metadata.raw('namespace')!r}")
    metadata.accept("creationTimestamp", "uid", "resourceVersion", "generation", "selfLink", "managedFields")
    metadata.finish()
    spec = root.child("spec")
    job = _job_fields(spec)
    pod = spec.child("template")
    pod_metadata = pod.child("metadata")
    tags |= tags_of(pod_metadata, "labels") | tags_of(pod_metadata, "annotations")
    pod_metadata.accept("creationTimestamp", "name")
    pod_metadata.finish()
    pod_spec = pod.child("spec")
    job |= _pod_fields(pod_spec, gvc=gvc)
    if job["restart_policy"] == "Never" and spec.raw("backoffLimit") not in (None, 0):
        spec.fault("backoffLimit", "the platform does not run a failed job again; set it to 0, and retries on the flow instead")
    converted = _containers(pod_spec)
    check_containers(converted, pod_spec, relaxed="cpln/relaxMemoryToCpuRatio" in tags)
    for reader in (pod_spec, pod, spec, root):
        reader.finish()
    if faults:
        raise ManifestError(faults)
    return JobManifest(containers=tuple(spec for _, spec in converted), name=name, tags=tags, **job)


def _job_fields(spec: Reader) -> dict[str, Any]:
    deadline = spec.number("activeDeadlineSeconds", 1, limits.DEADLINE_SECONDS)
    for key in ("completions", "parallelism"):
        if spec.raw(key) not in (None, 1):
            spec.fault(key, f"expected 1, found {spec.raw(key)!r}: {_ONE_RUN}")
    if spec.flag("suspend"):
        spec.fault("suspend", "a suspended job would never run; remove it")
    # How long a finished job is kept is delete_after_completion's matter, and the rest describes Kubernetes' own bookkeeping.
    spec.accept("ttlSecondsAfterFinished", "backoffLimit", "selector", "manualSelector", "completionMode")
    return {"active_deadline_seconds": deadline}


def _pod_fields(pod: Reader, *, gvc: str) -> dict[str, Any]:
    restart = pod.text("restartPolicy") or "Never"
    if restart not in ("Never", "OnFailure"):
        pod.fault("restartPolicy", f"expected Never or OnFailure, found {restart!r}")
    extra: dict[str, Any] = {}
    grace = pod.number("terminationGracePeriodSeconds", 0, limits.TERMINATION_GRACE_SECONDS)
    if grace is not None:
        extra["rolloutOptions"] = {"terminationGracePeriodSeconds": grace}
    if security := _security(pod.child("securityContext")):
        extra["securityOptions"] = security
    account = pod.text("serviceAccountName")
    if pod.text("serviceAccount") not in (None, account):
        pod.fault("serviceAccount", "use serviceAccountName")
    deadline = pod.number("activeDeadlineSeconds", 1, limits.DEADLINE_SECONDS)
    for key in ("nodeSelector", "affinity", "tolerations", "nodeName", "topologySpreadConstraints"):
        pod.refuse(key, _SCHEDULING)
    pod.refuse("initContainers", "run the steps in the main container's command, or as jobs before this one")
    pod.refuse("imagePullSecrets", "pull secrets belong to the GVC: spec.pullSecretLinks; remove it")
    # Defaults that Kubernetes writes into every pod and that mean nothing here.
    pod.accept("dnsPolicy", "schedulerName", "enableServiceLinks", "automountServiceAccountToken")
    job: dict[str, Any] = {"restart_policy": restart, "extra_spec": extra}
    if account:
        job["identity"] = f"//gvc/{gvc}/identity/{account}"
    if deadline is not None:
        job["active_deadline_seconds"] = deadline
    return job


def _security(context: Reader) -> dict[str, Any]:
    found = {
        "runAsUser": context.number("runAsUser", 1, 65_534),
        "filesystemGroupId": context.number("fsGroup", 1, 65_534),
    }
    context.finish()
    return {name: value for name, value in found.items() if value is not None}


def _containers(pod: Reader) -> list[tuple[Reader, ContainerSpec]]:
    volumes = _volumes(pod)
    return [(reader, _container(reader, volumes)) for reader in pod.children("containers")]


def _container(reader: Reader, volumes: Mapping[str, str]) -> ContainerSpec:
    command = reader.texts("command")
    args = (*command[1:], *reader.texts("args"))
    cpu, memory, extra = _resources(reader.child("resources"))
    if folder := containers.working_folder(reader):
        extra["workingDir"] = folder
    if mounts := _mounts(reader, volumes):
        extra["volumes"] = mounts
    if hooks := containers.lifecycle(reader):
        extra["lifecycle"] = hooks
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        reader.refuse(key, _NO_PROBES)
    reader.refuse("ports", "a cron workload serves nobody; remove it")
    reader.refuse("envFrom", _VALUE_ONLY)
    reader.refuse("securityContext", "set securityContext of the pod: runAsUser, fsGroup")
    reader.accept("imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy")
    spec = ContainerSpec(
        name=reader.text("name", required=True) or "",
        image=reader.text("image", required=True) or "",
        command=command[0] if command else None,
        args=args,
        env=containers.environment(reader, more=_value_from),
        cpu=cpu,
        memory=memory,
        extra=extra,
    )
    reader.finish()
    return spec


def _value_from(variable: Reader) -> None:
    variable.refuse("valueFrom", _VALUE_ONLY)


def _resources(resources: Reader) -> tuple[str | None, str | None, dict[str, Any]]:
    """Read limits and requests: the limit is what the container may use, the request its least."""
    found: dict[str, dict[str, str | None]] = {}
    for part in ("limits", "requests"):
        reader = resources.child(part)
        found[part] = {key: containers.amount(reader, key, rule) for key, rule in _AMOUNTS.items()}
        reader.finish()
    resources.finish()
    most, least = found["limits"], found["requests"]
    extra = {name: least[key] for key, name in (("cpu", "minCpu"), ("memory", "minMemory")) if least[key] and most[key]}
    return most["cpu"] or least["cpu"], most["memory"] or least["memory"], dict(extra)


_AMOUNTS: Mapping[str, Callable[[object], tuple[str | None, str | None]]] = {"cpu": limits.cpu, "memory": limits.memory}


def _volumes(pod: Reader) -> dict[str, str]:
    found = {}
    for volume in pod.children("volumes"):
        name = volume.text("name", required=True) or ""
        # Its common form is the empty object, which is not the same as an absent one.
        if isinstance(volume.raw("emptyDir"), Mapping):
            found[name] = f"scratch://{name}"
            volume.accept("emptyDir")
            volume.finish()
        else:
            kinds = [key for key in ("configMap", "secret", "persistentVolumeClaim", "hostPath", "projected") if volume.raw(key)]
            volume.fault(
                kinds[0] if kinds else "", "only emptyDir is supported; use a native workload manifest for other volumes"
            )
    return found


def _mounts(container: Reader, volumes: Mapping[str, str]) -> list[dict[str, str]]:
    found = []
    for mount in container.children("volumeMounts"):
        name, path = mount.text("name", required=True), mount.text("mountPath", required=True)
        mount.refuse("subPath", "a part of a volume cannot be mounted; mount the whole volume")
        if mount.flag("readOnly"):
            mount.fault("readOnly", "a scratch volume cannot be read-only; remove it")
        mount.finish()
        if name is not None and name not in volumes:
            mount.fault("name", f"there is no volume {name!r} in the pod that can be mounted")
        elif name and path:
            found.append({"uri": volumes[name], "path": path})
    return found
