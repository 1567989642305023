"""Convert a Kubernetes Job into a job of the platform.

Each field has one of three outcomes, none of them silent. It is *converted*; or *noted*, if it has
no effect here; or *refused* with its path, if dropping it would change what the job does or what it
is allowed to do. The ``fields`` module decides between the last two. Fields that Kubernetes itself
writes into an object (``status``, ``uid``, its defaults) and those in which tools keep their state
(``kubectl.kubernetes.io/...``) pass silently.

Whatever prefect-cpln accepted is accepted too: ``completions`` and ``parallelism`` on the pod,
variables as an object, a command line as one string, and containers without an image or without
limits, which get its defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cpln_flows.errors import ManifestError
from cpln_flows.manifest import limits
from cpln_flows.manifest.containers import check_containers, tags_of, text_of
from cpln_flows.manifest.document import Reader, describe
from cpln_flows.manifest.kubernetes import containers, fields, security
from cpln_flows.manifest.kubernetes.containers import Surroundings
from cpln_flows.manifest.kubernetes.variables import Pod
from cpln_flows.manifest.manifest import JobManifest

_LARGEST_NUMBER = 2**31 - 1  # the maximum of Kubernetes
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
# Labels and annotations in which Kubernetes and the tools around it keep their state. It includes
# the whole manifest with its variables.
_BOOKKEEPING = frozenset({"controller-uid", "job-name", "pod-template-hash"})
_LAST_APPLIED = "last-applied-configuration"
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


@dataclass(frozen=True)
class _Parts:
    """The objects of a Job that contain fields."""

    metadata: Reader
    spec: Reader
    template: Reader
    pod_metadata: Reader
    pod: Reader

    @classmethod
    def of(cls, root: Reader) -> _Parts:
        metadata, spec = root.child("metadata"), root.child("spec")
        template = spec.child("template")
        return cls(metadata, spec, template, template.child("metadata"), template.child("spec"))

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.metadata, self.spec, self.template, self.pod_metadata, self.pod)


def convert(root: Reader, *, gvc: str, default_image: str | None = None) -> JobManifest:
    """Convert a Kubernetes Job.

    Args:
        root: The document.
        gvc: The GVC in which the job runs.
        default_image: Image of a container that names none. Default: such a container is a fault.

    Raises:
        ManifestError: The platform cannot run the job; the error lists every fault.
    """
    root.accept("kind", "status")
    _check_version(root)
    parts = _Parts.of(root)
    made = _converted(parts, gvc, default_image)
    return _unless_wrong(made, (*parts.readers, root))


def convert_cron_job(root: Reader, *, gvc: str, default_image: str | None = None) -> JobManifest:
    """Convert the job of a Kubernetes CronJob, which runs on demand.

    Raises:
        ManifestError: The platform cannot run the job; the error lists every fault.
    """
    root.accept("kind", "status")
    _check_version(root)
    metadata, spec = root.child("metadata"), root.child("spec")
    job = spec.child("jobTemplate")
    fields.apply(spec, fields.CRON_JOB)
    schedule = spec.text("schedule")
    if schedule is not None:
        spec.note(
            "schedule",
            "has no effect: the job runs on demand; give the schedule to a deployment",
        )
    parts = _Parts.of(job)
    name = _name(metadata, gvc)
    made = _converted(parts, gvc, default_image)
    return _unless_wrong(
        replace(made, name=made.name or name), (metadata, spec, job, *parts.readers, root)
    )


def _unless_wrong(made: JobManifest, readers: Sequence[Reader]) -> JobManifest:
    """Return the job with its notes; raise ``ManifestError`` if there are faults.

    All fields must have been read before, because any other field is a fault.
    """
    for reader in readers:
        reader.finish()
    root = readers[-1]
    if root.has_faults:
        raise ManifestError(root.faults)
    return replace(made, notes=tuple(root.notes))


def _check_version(root: Reader) -> None:
    if root.text("apiVersion", required=True) not in ("batch/v1", None):
        root.fault("apiVersion", f"expected batch/v1, found {describe(root.raw('apiVersion'))}")


def _converted(parts: _Parts, gvc: str, default_image: str | None) -> JobManifest:
    name, labels, annotations = _name(parts.metadata, gvc), *_labels_and_annotations(parts)
    tags = _tags(parts, labels, annotations)
    fields.apply(parts.spec, fields.JOB)
    _selector(parts.spec)
    read: dict[str, Any] = {
        "active_deadline_seconds": _deadline(parts.spec, parts.pod),
        "restart_policy": _restart_policy(parts.spec, parts.pod),
        "identity": _identity(parts.pod, gvc),
    }
    relaxed = tags.get(limits.RELAXED_RATIO_TAG) == "true"
    account = parts.pod.raw("serviceAccountName") or parts.pod.raw("serviceAccount")
    around = Surroundings(
        Pod(gvc, account if isinstance(account, str) else None, labels, annotations),
        default_image,
        relaxed,
        containers.gpu_model(parts.pod, annotations),
    )
    found, readers = containers.read(parts.pod, around)
    check_containers(found, parts.pod, relaxed=relaxed)
    read["extra_spec"] = _pod(
        parts.pod, readers, relaxed=tags.get(limits.RELAXED_GRACE_TAG) == "true"
    )
    return JobManifest(
        containers=tuple(container for _, container in found), name=name, tags=tags, **read
    )


def _name(metadata: Reader, gvc: str) -> str | None:
    name, prefix = metadata.text("name"), metadata.text("generateName")
    for key, text in (("name", name), ("generateName", prefix)):
        if text is not None and (wrong := limits.workload_base(text)):
            metadata.fault(key, wrong)
    if (namespace := metadata.text("namespace")) not in (None, "", "default", gvc):
        metadata.note(
            "namespace", f"has no effect: the job runs in the GVC {gvc}, not in {namespace!r}"
        )
    metadata.accept(*_WRITTEN_BY_KUBERNETES)
    return name or prefix


def _labels_and_annotations(parts: _Parts) -> tuple[dict[str, str], dict[str, str]]:
    """Read labels and annotations, except those of tools; the pod's override the job's."""
    # Kubernetes names pods itself.
    parts.pod_metadata.accept("name", "generateName", "namespace", *_WRITTEN_BY_KUBERNETES)
    found: list[dict[str, str]] = []
    for part in ("labels", "annotations"):
        both: dict[str, str] = {}
        for reader in (parts.metadata, parts.pod_metadata):
            both |= {
                name: value
                for name, value in tags_of(reader, part).items()
                if not _is_bookkeeping(name)
            }
        found.append(both)
    return found[0], found[1]


def _is_bookkeeping(name: str) -> bool:
    return name in _BOOKKEEPING or name.startswith(_BOOKKEEPERS) or name.endswith(_LAST_APPLIED)


def _tags(parts: _Parts, labels: dict[str, str], annotations: dict[str, str]) -> dict[str, str]:
    """Return labels and annotations as tags; two values of one tag are a fault.

    The platform has only one set of tags.
    """
    found = labels | annotations
    for reader in (parts.metadata, parts.pod_metadata):
        for part in ("labels", "annotations"):
            given = reader.raw(part)
            for name in given if isinstance(given, dict) else ():
                if name in found and found[name] != text_of(given[name]):
                    reader.fault(
                        f"{part}.{name}",
                        "has another value elsewhere, and both become one tag; remove one of them",
                    )
    if len(found) > (most := limits.TAGS - limits.OWN_TAGS):
        parts.metadata.fault(
            "labels",
            f"there are {len(found)} labels and annotations in total,"
            f" the platform leaves room for {most}",
        )
    return found


def _selector(spec: Reader) -> None:
    """Accept the selector that Kubernetes generates for every job; note one that a user wrote."""
    made = spec.raw("selector")
    if made in (None, {}):
        return
    labels = made.get("matchLabels") if isinstance(made, dict) and len(made) == 1 else None
    if not isinstance(labels, dict) or not labels or not _CONTROLLER_UIDS.issuperset(labels):
        spec.note("selector", "has no effect: the platform finds a job by the tags of its command")


def _deadline(spec: Reader, pod: Reader) -> int | None:
    """Read the deadlines of the job and of its only pod; the shorter one applies."""
    found = [
        reader.number("activeDeadlineSeconds", 1, limits.DEADLINE_SECONDS) for reader in (spec, pod)
    ]
    return min((seconds for seconds in found if seconds is not None), default=None)


def _restart_policy(spec: Reader, pod: Reader) -> str:
    policy = pod.choice("restartPolicy", "Never", "OnFailure") or "Never"
    limit = spec.number("backoffLimit", 0, _LARGEST_NUMBER)
    if limit == 0:
        return "Never"  # without a second attempt, OnFailure means the same
    if limit is not None and policy == "OnFailure":
        spec.note(
            "backoffLimit",
            "has no effect: the number of restarts of a failed container cannot be set",
        )
    elif limit is not None:
        spec.note(
            "backoffLimit",
            "has no effect: the platform does not rerun a failed job;"
            " set retries on the flow instead",
        )
    return policy


def _pod(pod: Reader, readers: Sequence[Reader], *, relaxed: bool) -> dict[str, Any]:
    fields.apply(pod, fields.POD)
    system = pod.child("os")
    fields.apply(system, fields.OS)
    system.finish()
    extra: dict[str, Any] = {}
    most = limits.RELAXED_GRACE_SECONDS if relaxed else limits.TERMINATION_GRACE_SECONDS
    grace = pod.number("terminationGracePeriodSeconds", 0, most)
    if grace is not None:
        extra["rolloutOptions"] = {"terminationGracePeriodSeconds": grace}
    if options := security.options(pod, readers):
        extra["securityOptions"] = options
    return extra


def _identity(pod: Reader, gvc: str) -> str | None:
    account, older = pod.text("serviceAccountName"), pod.text("serviceAccount")
    if older is not None and account is not None and older != account:
        pod.fault(
            "serviceAccount",
            "differs from serviceAccountName, which replaces it; remove it",
        )
    name = account or older
    if not name:
        return None
    link, wrong = limits.identity(name, gvc)
    if wrong:
        pod.fault("serviceAccountName" if account else "serviceAccount", wrong)
    return link
