"""From a Kubernetes Job to a job of the platform. What cannot be expressed is a fault with its path, never left out silently.

Some fields have no effect here and are taken without translation: what Kubernetes writes into an object by itself (``status``,
``uid``, ...), its defaults when they are spelled out, the namespace (a job runs in the GVC of its block), ``imagePullPolicy``
(the platform looks an image up by itself; only ``Never`` is refused), ``enableServiceLinks`` and ``ttlSecondsAfterFinished``
(``delete_after_completion`` says how long a job is kept).

What prefect-cpln took is taken too: ``completions`` and ``parallelism`` on the pod, variables as an object, a command line as one
text, and containers without an image or without limits, which get its defaults.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from cpln_flows.errors import ManifestError
from cpln_flows.manifest import containers, limits
from cpln_flows.manifest.containers import check_containers, tags_of
from cpln_flows.manifest.document import Reader, describe, truth
from cpln_flows.manifest.manifest import ContainerSpec, JobManifest
from cpln_flows.model.display import shown

_Accepted = Mapping[str, tuple[Sequence[object], str]]
_Refused = Mapping[str, str]

_ONE_RUN = "a job on Control Plane is one run; start several jobs instead"
_SCHEDULING = "where a job runs is chosen by its location; remove it"
_NO_PROBES = "a cron workload has no probes; remove it"
_ISOLATED = "a job is isolated from the machine it runs on; remove it"
_NO_RETRIES = "the platform does not run a failed job again; set it to 0, and retries on the flow instead"
_NOT_HERE = "there is no such thing on Control Plane; remove it"
_LARGEST_NUMBER = 2**31 - 1  # Kubernetes' own

_WRITTEN_BY_KUBERNETES = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
# Labels and annotations in which Kubernetes and the tools around it keep books, the manifest with its variables among them.
_BOOKKEEPING = frozenset({"controller-uid", "job-name", "pod-template-hash"})
_BOOKKEEPERS = (
    "argocd.argoproj.io/",
    "autopilot.gke.io/",
    "batch.kubernetes.io/",
    "control-plane.alpha.kubernetes.io/",
    "cronjob.kubernetes.io/",
    "deployment.kubernetes.io/",
    "field.cattle.io/",
    "helm.sh/",
    "kubectl.kubernetes.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "objectset.rio.cattle.io/",
    "openshift.io/",
)
_CONTROLLER_UIDS = frozenset({"controller-uid", "batch.kubernetes.io/controller-uid"})

_JOB_ACCEPTED: _Accepted = {
    "completions": ((1,), _ONE_RUN),
    "parallelism": ((1,), _ONE_RUN),
    "completionMode": (("NonIndexed",), _ONE_RUN),
    "suspend": ((False,), "a suspended job would never run; remove it"),
    "manualSelector": ((False,), _NOT_HERE),
    "podReplacementPolicy": (("TerminatingOrFailed", "Failed"), _NOT_HERE),
}
_JOB_REFUSED: _Refused = {
    "podFailurePolicy": _NO_RETRIES,
    "backoffLimitPerIndex": _ONE_RUN,
    "maxFailedIndexes": _ONE_RUN,
    "successPolicy": _ONE_RUN,
    "managedBy": _NOT_HERE,
}
_POD_ACCEPTED: _Accepted = {
    "completions": ((1,), _ONE_RUN),  # prefect-cpln demanded both of the pod
    "parallelism": ((1,), _ONE_RUN),
    "dnsPolicy": (("ClusterFirst",), "names are looked up as the platform does it; remove it"),
    "schedulerName": (("default-scheduler",), _SCHEDULING),
    "preemptionPolicy": (("PreemptLowerPriority",), _SCHEDULING),
    "enableServiceLinks": ((True, False), _NOT_HERE),
    "automountServiceAccountToken": ((True,), "the platform gives every container the token of its workload; remove it"),
    "hostNetwork": ((False,), _ISOLATED),
    "hostPID": ((False,), _ISOLATED),
    "hostIPC": ((False,), _ISOLATED),
    "hostUsers": ((True,), _ISOLATED),
    "shareProcessNamespace": ((False,), "containers cannot see one another's processes; remove it"),
}
_POD_REFUSED: _Refused = {
    "nodeSelector": _SCHEDULING,
    "nodeName": _SCHEDULING,
    "affinity": _SCHEDULING,
    "tolerations": _SCHEDULING,
    "topologySpreadConstraints": _SCHEDULING,
    "priorityClassName": _SCHEDULING,
    "runtimeClassName": _SCHEDULING,
    "imagePullSecrets": "pull secrets belong to the GVC: spec.pullSecretLinks; remove it",
    "hostAliases": "names are looked up as the platform does it; remove it",
    "dnsConfig": "names are looked up as the platform does it; remove it",
    "hostname": _NOT_HERE,
    "subdomain": _NOT_HERE,
    "readinessGates": _NO_PROBES,
    "ephemeralContainers": _NOT_HERE,
    "resourceClaims": _NOT_HERE,
    "resources": "give resources to each container instead",
}
_CONTAINER_ACCEPTED: _Accepted = {
    "imagePullPolicy": (("Always", "IfNotPresent"), "no machine of the platform has the image beforehand; remove it"),
    "terminationMessagePath": (("/dev/termination-log",), _NOT_HERE),
    "terminationMessagePolicy": (("File",), _NOT_HERE),
    "stdin": ((False,), "nobody can type into a job; remove it"),
    "stdinOnce": ((False,), "nobody can type into a job; remove it"),
    "tty": ((False,), "nobody can type into a job; remove it"),
}
_CONTAINER_REFUSED: _Refused = {
    "envFrom": containers.VALUE_ONLY,
    "ports": "a cron workload serves nobody; remove it",
    "livenessProbe": _NO_PROBES,
    "readinessProbe": _NO_PROBES,
    "startupProbe": _NO_PROBES,
    "securityContext": "set securityContext of the pod: runAsUser, fsGroup",
    "volumeDevices": "only emptyDir volumes are supported; remove it",
    "resizePolicy": _NOT_HERE,
    "restartPolicy": "set restartPolicy of the pod",
    "restartPolicyRules": "set restartPolicy of the pod",
}
_MOUNT_ACCEPTED: _Accepted = {
    "readOnly": ((False,), "a scratch volume cannot be read-only; remove it"),
    "mountPropagation": (("None",), _ISOLATED),
}
_MOUNT_REFUSED: _Refused = dict.fromkeys(
    ("subPath", "subPathExpr"), "a part of a volume cannot be mounted; mount the whole volume"
)
_ONLY_SCRATCH = "only emptyDir is supported; use a native workload manifest for other volumes"
_OTHER_VOLUMES = ("configMap", "secret", "persistentVolumeClaim", "hostPath", "projected", "ephemeral", "nfs", "csi")
_VOLUME_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


_DEFAULT_CPU, _DEFAULT_MEMORY = "500m", "512Mi"
"""What prefect-cpln gave to a container without limits; the platform's own 50m and 128Mi are too little for Prefect itself."""


def convert(root: Reader, *, gvc: str, default_image: str | None = None) -> JobManifest:
    """Read a Kubernetes Job; raises ``ManifestError`` with every fault.

    Args:
        root: The document.
        gvc: Where the job runs.
        default_image: Image of a container that names none. Default: that is a fault.
    """
    root.accept("kind", "status")
    if root.text("apiVersion", required=True) not in ("batch/v1", None):
        root.fault("apiVersion", f"expected batch/v1, found {describe(root.raw('apiVersion'))}")
    metadata, spec = root.child("metadata"), root.child("spec")
    template = spec.child("template")
    pod_metadata, pod = template.child("metadata"), template.child("spec")
    name, tags = _name(metadata), _tags(metadata, pod_metadata)
    _job(spec)
    fields: dict[str, Any] = {
        "active_deadline_seconds": _deadline(spec, pod),
        "restart_policy": _restart_policy(spec, pod),
        "identity": _identity(pod, gvc),
        "extra_spec": _pod(pod),
    }
    notes: list[str] = []
    found = _containers(pod, default_image, notes)
    check_containers(found, pod, relaxed=tags.get(limits.RELAXED_RATIO_TAG) == "true")
    for reader in (root, metadata, spec, template, pod_metadata, pod):
        reader.finish()
    if root.faults:
        raise ManifestError(root.faults)
    specs = tuple(container for _, container in found)
    return JobManifest(containers=specs, name=name, tags=tags, notes=tuple(notes), **fields)


def _accept(reader: Reader, table: _Accepted) -> None:
    """Take fields that say what is so anyway, refuse them when they say anything else."""
    for key, (accepted, why) in table.items():
        value = reader.raw(key)
        if any(isinstance(known, bool) for known in accepted):
            value = truth(value)
        # By type too: true is not 1.
        if value is not None and not any(type(value) is type(known) and value == known for known in accepted):
            expected = " or ".join(
                str(known).lower() if isinstance(known, bool) else str(known or "nothing") for known in accepted
            )
            reader.fault(key, f"expected {expected}, found {describe(value)}: {why}")


def _refuse(reader: Reader, table: _Refused) -> None:
    for key, why in table.items():
        reader.refuse(key, why)


def _name(metadata: Reader) -> str | None:
    name, prefix = metadata.text("name"), metadata.text("generateName")
    if name is not None and (wrong := limits.workload_base(name)):
        metadata.fault("name", wrong)
    metadata.text("namespace")
    metadata.accept(*_WRITTEN_BY_KUBERNETES)
    return name or prefix


def _tags(metadata: Reader, pod_metadata: Reader) -> dict[str, str]:
    """Read labels and annotations, of the job and of its pod: the platform has tags in their place, and only one set of them."""
    pod_metadata.accept("name", "generateName", "namespace", *_WRITTEN_BY_KUBERNETES)  # Kubernetes names pods itself
    found: dict[str, str] = {}
    for reader in (metadata, pod_metadata):
        for part in ("labels", "annotations"):
            for name, value in tags_of(reader, part).items():
                if name in _BOOKKEEPING or name.startswith(_BOOKKEEPERS):
                    continue
                if found.setdefault(name, value) != value:
                    reader.fault(f"{part}.{name}", "has another value elsewhere, and both become one tag; remove one of them")
    if len(found) > (most := limits.TAGS - limits.OWN_TAGS):
        metadata.fault("labels", f"there are {len(found)} labels and annotations in all, the platform leaves room for {most}")
    return found


def _job(spec: Reader) -> None:
    _accept(spec, _JOB_ACCEPTED)
    _refuse(spec, _JOB_REFUSED)
    _selector(spec)
    spec.number("ttlSecondsAfterFinished", 0, _LARGEST_NUMBER)


def _selector(spec: Reader) -> None:
    """Take the selector that Kubernetes has made, which every job that a cluster shows has; refuse one of a user's own."""
    made = spec.raw("selector")
    if made in (None, {}):
        return
    labels = made.get("matchLabels") if isinstance(made, dict) and len(made) == 1 else None
    if not isinstance(labels, dict) or not labels or not _CONTROLLER_UIDS.issuperset(labels):
        spec.fault("selector", "Kubernetes makes it by itself and the platform has none; remove it")


def _deadline(spec: Reader, pod: Reader) -> int | None:
    """Read the deadline of the job and that of its pod, which is the job's only one: the shorter holds."""
    found = [reader.number("activeDeadlineSeconds", 1, limits.DEADLINE_SECONDS) for reader in (spec, pod)]
    return min((seconds for seconds in found if seconds is not None), default=None)


def _restart_policy(spec: Reader, pod: Reader) -> str:
    policy = pod.choice("restartPolicy", "Never", "OnFailure") or "Never"
    limit = spec.number("backoffLimit", 0, _LARGEST_NUMBER)
    if limit == 0:
        return "Never"  # what OnFailure comes to when there is no second attempt
    if limit is not None and policy == "OnFailure":
        spec.fault("backoffLimit", "how often a container is restarted cannot be set; remove it, or set it to 0")
    elif limit is not None:
        spec.fault("backoffLimit", _NO_RETRIES)
    return policy


def _pod(pod: Reader) -> dict[str, Any]:
    _accept(pod, _POD_ACCEPTED)
    _refuse(pod, _POD_REFUSED)
    extra: dict[str, Any] = {}
    grace = pod.number("terminationGracePeriodSeconds", 0, limits.TERMINATION_GRACE_SECONDS)
    if grace is not None:
        extra["rolloutOptions"] = {"terminationGracePeriodSeconds": grace}
    if security := _security(pod.child("securityContext")):
        extra["securityOptions"] = security
    return extra


def _security(context: Reader) -> dict[str, int]:
    found = {
        "runAsUser": context.number("runAsUser", 1, 65_534),
        "filesystemGroupId": context.number("fsGroup", 1, 65_534),
    }
    if context.flag("runAsNonRoot") and found["runAsUser"] is None:
        context.fault("runAsNonRoot", "the platform does not look at an image's user; say which with runAsUser")
    context.finish()
    return {name: value for name, value in found.items() if value is not None}


def _identity(pod: Reader, gvc: str) -> str | None:
    account, older = pod.text("serviceAccountName"), pod.text("serviceAccount")
    if older is not None and account is not None and older != account:
        pod.fault("serviceAccount", "differs from serviceAccountName, of which it is the older name; remove it")
    name = account or older
    if not name:
        return None
    link, wrong = limits.identity(name, gvc)
    if wrong:
        pod.fault("serviceAccountName" if account else "serviceAccount", wrong)
    return link


def _containers(pod: Reader, default_image: str | None, notes: list[str]) -> list[tuple[Reader, ContainerSpec]]:
    volumes = _volumes(pod)
    read = partial(_container, volumes=volumes, default_image=default_image, notes=notes)
    found = [(reader, read(reader)) for reader in pod.children("containers")]
    has_main = bool(found)
    for reader in pod.children("initContainers"):
        # Kubernetes' way to write a sidecar. Only the order of the starts is lost, on which nobody can rely for readiness.
        if reader.raw("restartPolicy") == "Always":
            found.append((reader, read(reader, sidecar=True)))
        else:
            reader.fault("", "run its steps in the main container's command, or as a job before this one")
    if found and not has_main:
        pod.fault("containers", "there is none; a sidecar needs a main container beside it")
    return found


def _container(
    reader: Reader,
    *,
    volumes: Mapping[str, str | None],
    default_image: str | None,
    notes: list[str],
    sidecar: bool = False,
) -> ContainerSpec:
    _accept(reader, _CONTAINER_ACCEPTED)
    _refuse(reader, {key: why for key, why in _CONTAINER_REFUSED.items() if not (sidecar and key == "restartPolicy")})
    command, args = reader.words("command"), reader.words("args")
    if command[:1] == [""]:
        reader.fault("command[0]", "is empty; expected an executable")
    cpu, memory, extra = _resources(reader.child("resources"))
    name, image = reader.text("name", required=True), _image(reader, default_image)
    cpu, memory = _with_defaults(name, cpu, memory, notes)
    if image is not None and (wrong := limits.image(image)):
        reader.fault("image", wrong)
    if name == "":
        reader.fault("name", "is empty; expected a name")
    extra |= {
        "workingDir": containers.working_folder(reader),
        "volumes": _mounts(reader, volumes),
        "lifecycle": containers.lifecycle(reader),
    }
    spec = ContainerSpec(
        name=name or "",
        image=image or "",
        command=command[0] if command else None,
        args=(*command[1:], *args),
        env=containers.environment(reader),
        cpu=cpu,
        memory=memory,
        extra={key: value for key, value in extra.items() if value},
    )
    reader.finish()
    return spec


def _image(reader: Reader, default: str | None) -> str | None:
    """Read the image; an empty one is none, and a job that names none gets the default."""
    if default is not None and reader.raw("image") in {None, ""}:
        return default
    return reader.text("image", required=True)


def _with_defaults(name: str | None, cpu: str | None, memory: str | None, notes: list[str]) -> tuple[str | None, str | None]:
    """Fill in what a container without limits gets, and note that; one amount alone is left to the platform's rules."""
    if cpu is not None or memory is not None:
        return cpu, memory
    notes.append(
        f"container {name}: no limits are given, so it gets {_DEFAULT_CPU} of CPU and {_DEFAULT_MEMORY} of memory; set"
        " resources.limits to choose"
    )
    return _DEFAULT_CPU, _DEFAULT_MEMORY


_AMOUNTS: Mapping[str, Callable[[object], tuple[str | None, str | None]]] = {"cpu": limits.cpu, "memory": limits.memory}
_LEAST = {"cpu": "minCpu", "memory": "minMemory"}


def _resources(resources: Reader) -> tuple[str | None, str | None, dict[str, Any]]:
    """Read limits and requests: the limit is what the container may use, the request its least; one alone is both."""
    most, least = (_amounts(resources.child(part)) for part in ("limits", "requests"))
    resources.refuse("claims", _NOT_HERE)
    resources.finish()
    extra: dict[str, Any] = {}
    for key, name in _LEAST.items():
        low, high = least[key], most[key]
        if low is None or high is None or low == high:
            continue
        if not limits.least_within_most(low, high):
            resources.fault(f"requests.{key}", f"{low} is more than the limit, {high}")
        extra[name] = low
    return most["cpu"] or least["cpu"], most["memory"] or least["memory"], extra


def _amounts(part: Reader) -> dict[str, str | None]:
    found = {key: containers.amount(part, key, rule) for key, rule in _AMOUNTS.items()}
    part.finish()
    return found


def _volumes(pod: Reader) -> dict[str, str | None]:
    """Return the address of each volume; of one that cannot be had, nothing, so that its mounts are no faults as well."""
    found: dict[str, str | None] = {}
    for volume in pod.children("volumes"):
        name = volume.text("name", required=True) or ""
        if name in found:
            volume.fault("name", f"{shown(name)} is the name of another volume too")
        found[name] = _scratch(volume, name)
    return found


def _scratch(volume: Reader, name: str) -> str | None:
    # Its common form is the empty object, which is not the same as an absent one.
    if volume.raw("emptyDir") is None:
        volume.fault(next((kind for kind in _OTHER_VOLUMES if volume.raw(kind) is not None), ""), _ONLY_SCRATCH)
        return None
    source = volume.child("emptyDir")
    _accept(source, {"medium": (("",), "a scratch volume lies on disk; remove it")})
    source.refuse("sizeLimit", "the size of a scratch volume cannot be set; remove it")
    source.finish()
    volume.finish()
    if name and not _VOLUME_NAME.fullmatch(name):
        volume.fault("name", f"expected at most 63 lower-case letters, digits and inner dashes, found {shown(name)}")
    return f"scratch://{name}"


def _mounts(container: Reader, volumes: Mapping[str, str | None]) -> list[dict[str, str]]:
    found = []
    for mount in container.children("volumeMounts"):
        name, path = mount.text("name", required=True), mount.text("mountPath", required=True)
        if name is not None and volumes.get(name, "") is None:  # the fault is the volume's
            mount.accept(*_MOUNT_ACCEPTED, *_MOUNT_REFUSED)
        else:
            _accept(mount, _MOUNT_ACCEPTED)
            _refuse(mount, _MOUNT_REFUSED)
        mount.finish()
        if path is not None and (wrong := limits.mount(path)):
            mount.fault("mountPath", wrong)
        if name is not None and name not in volumes:
            mount.fault("name", f"there is no volume {shown(name)} in the pod")
        if name is not None and path is not None and (uri := volumes.get(name)):
            found.append({"uri": uri, "path": path})
    if wrong := limits.mounts([mount["path"] for mount in found]):
        container.fault("volumeMounts", wrong)
    return found
