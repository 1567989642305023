"""Rules for fields without a counterpart on the platform: note them, or refuse them with a reason.

A field is refused if dropping it would change what the job does or what it is allowed to do. It is
noted if it only controls where or how Kubernetes runs a pod, or has no effect on a job there
either. Values that agree with the platform's behavior pass silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cpln_flows.manifest.document import Reader, describe, truth


@dataclass(frozen=True)
class Rule:
    """How a field is handled.

    Attributes:
        outcome: Whether the job runs without the field.
        why: Why the platform cannot honor the field, and what to do.
        agreeing: Values that agree with the platform's behavior.
    """

    outcome: Literal["noted", "refused"]
    why: str
    agreeing: tuple[object, ...] = ()


Rules = Mapping[str, Rule]


def apply(reader: Reader, rules: Rules) -> None:
    """Note or refuse the fields of an object that have a rule."""
    for key, rule in rules.items():
        value = truth(reader.raw(key))
        reader.beside(key)
        if value in (None, "", [], {}) or _is_one_of(value, rule.agreeing):
            continue
        if rule.outcome == "noted":
            reader.note(key, rule.why)
        elif rule.agreeing:
            reader.fault(
                key, f"expected {_listed(rule.agreeing)}, found {describe(value)}: {rule.why}"
            )
        else:
            reader.fault(key, rule.why)


def _is_one_of(value: object, known: tuple[object, ...]) -> bool:
    # Types must match too: true is not 1.
    return any(type(value) is type(item) and value == item for item in known)


def _listed(known: tuple[object, ...]) -> str:
    return " or ".join(str(item).lower() if isinstance(item, bool) else str(item) for item in known)


def _noted(why: str, *agreeing: object) -> Rule:
    return Rule("noted", why, agreeing)


def _refused(why: str, *agreeing: object) -> Rule:
    return Rule("refused", why, agreeing)


_ONE_RUN = "a job on Control Plane is one run; start several jobs instead"
_NO_RETRIES = (
    "the platform does not rerun a failed job; set retries on the flow or the task instead"
)
_PLACEMENT = (
    "has no effect: the platform chooses the machine, and the block or the work pool chooses the"
    " location of a job"
)
_ISOLATED = "a job is isolated from the machine it runs on; remove it"
_SANDBOX = "has no effect: the platform isolates its containers in its own way"
_NAMES = "the platform resolves names in its own way, which a job cannot change; remove it"
_TERMINAL = "has no effect: nobody can type into a job"
_HOSTNAME = "has no effect: the platform names its replicas by itself"
_QUEUE = (
    "has no effect: the platform has no job queue; set a concurrency limit on the work pool instead"
)
_KERNEL = "the platform sets the kernel settings and the rights of a container; remove it"
_DEVICES = "devices cannot be claimed; request a GPU with resources.limits['nvidia.com/gpu']"
_LAST_MESSAGE = "has no effect: the platform keeps no termination message; print it to the log"

JOB: Rules = {
    "completions": _refused(_ONE_RUN, 1),
    "parallelism": _refused(_ONE_RUN, 1),
    "completionMode": _refused(_ONE_RUN, "NonIndexed"),
    "suspend": _refused("a suspended job would never run; remove it", False),
    "manualSelector": _noted(
        "has no effect: the platform finds a job by the tags of its command", False
    ),
    "podFailurePolicy": _noted(f"has no effect: {_NO_RETRIES}"),
    "podReplacementPolicy": _noted(
        f"has no effect: {_NO_RETRIES}", "TerminatingOrFailed", "Failed"
    ),
    "backoffLimitPerIndex": _noted(f"has no effect: {_NO_RETRIES}"),
    "maxFailedIndexes": _noted(f"has no effect: {_NO_RETRIES}"),
    "successPolicy": _refused(_ONE_RUN),
    "managedBy": _noted(_QUEUE, "kubernetes.io/job-controller"),
    "ttlSecondsAfterFinished": _noted(
        "has no effect: a dedicated workload is deleted after its job (delete_after_completion),"
        " a shared one by the clean-up flow once it is idle"
    ),
    "scheduling": _noted(_QUEUE),
}
CRON_JOB: Rules = {
    "concurrencyPolicy": _noted("has no effect: set a concurrency limit on the deployment instead"),
    "startingDeadlineSeconds": _noted("has no effect: the job starts on demand"),
    "successfulJobsHistoryLimit": _noted(
        "has no effect: the platform keeps the last runs of a workload by itself"
    ),
    "failedJobsHistoryLimit": _noted(
        "has no effect: the platform keeps the last runs of a workload by itself"
    ),
    "suspend": _noted("has no effect: the job runs on demand", False),
    "timeZone": _noted(
        "has no effect: set the time zone on the schedule of the deployment instead"
    ),
}
POD: Rules = {
    # prefect-cpln required both fields in the pod.
    "completions": _refused(_ONE_RUN, 1),
    "parallelism": _refused(_ONE_RUN, 1),
    "affinity": _noted(_PLACEMENT),
    "automountServiceAccountToken": _noted(
        "has no effect: every container gets CPLN_TOKEN, which allows what the policies of the"
        " job's identity allow",
        True,
    ),
    "dnsConfig": _refused(_NAMES),
    "dnsPolicy": _refused(_NAMES, "ClusterFirst", "ClusterFirstWithHostNet", "Default"),
    "evictionResponders": _noted(
        "has no effect: the platform moves a job to another machine without asking"
    ),
    "enableServiceLinks": _noted(
        "has no effect: the platform sets no service variables", True, False
    ),
    "ephemeralContainers": _noted("has no effect: containers cannot be added to a running job"),
    "hostAliases": _refused(_NAMES),
    "hostIPC": _refused(_ISOLATED, False),
    "hostNetwork": _refused(_ISOLATED, False),
    "hostPID": _refused(_ISOLATED, False),
    "hostUsers": _noted(_SANDBOX, True),
    "hostname": _noted(_HOSTNAME),
    "hostnameOverride": _noted(_HOSTNAME),
    "imagePullSecrets": _noted(
        "has no effect: pull secrets belong to the GVC; add them to its spec.pullSecretLinks"
    ),
    "nodeName": _noted(_PLACEMENT),
    "nodeSelector": _noted(_PLACEMENT),
    "overhead": _noted(_PLACEMENT),
    "preemptionPolicy": _noted(_PLACEMENT, "PreemptLowerPriority"),
    "priority": _noted(_PLACEMENT),
    "priorityClassName": _noted(_PLACEMENT),
    "readinessGates": _noted("has no effect on a job, not even on Kubernetes"),
    "resourceClaims": _refused(_DEVICES),
    "resources": _refused(
        "resources belong to containers here; move them to containers[].resources"
    ),
    "runtimeClassName": _noted(_SANDBOX),
    "schedulerName": _noted(_PLACEMENT, "default-scheduler"),
    "schedulingGates": _noted(_QUEUE),
    "schedulingGroup": _noted(_QUEUE),
    "setHostnameAsFQDN": _noted(_HOSTNAME, False),
    "shareProcessNamespace": _refused(
        "containers cannot see one another's processes; remove it", False
    ),
    "subdomain": _noted(_HOSTNAME),
    "tolerations": _noted(_PLACEMENT),
    "topologySpreadConstraints": _noted(_PLACEMENT),
    "workloadRef": _noted(_QUEUE),
}
OS: Rules = {"name": _refused("the platform runs Linux containers", "linux")}
CONTAINER: Rules = {
    "imagePullPolicy": _refused(
        "no machine of the platform has the image in advance; remove it", "Always", "IfNotPresent"
    ),
    "livenessProbe": _refused(
        "a cron workload has no probes; remove it, and set spec.activeDeadlineSeconds to end a job"
        " that hangs"
    ),
    "ports": _noted("has no effect: nobody can connect to a job"),
    "readinessProbe": _noted(
        "has no effect: nothing waits for a job to become ready, not even on Kubernetes"
    ),
    "resizePolicy": _noted("has no effect: the resources of a running job cannot be changed"),
    "restartPolicy": _refused("the pod's restartPolicy applies to all containers; remove it"),
    "restartPolicyRules": _refused("the pod's restartPolicy applies to all containers; remove it"),
    "startupProbe": _refused(
        "a cron workload has no probes; remove it, and wait in the command instead"
    ),
    "stdin": _noted(_TERMINAL, False),
    "stdinOnce": _noted(_TERMINAL, False),
    "terminationMessagePath": _noted(_LAST_MESSAGE, "/dev/termination-log"),
    "terminationMessagePolicy": _noted(_LAST_MESSAGE, "File"),
    "tty": _noted(_TERMINAL, False),
    "volumeDevices": _refused(
        "a volume is not available as a block device; mount it with volumeMounts"
    ),
}
RESOURCES: Rules = {"claims": _refused(_DEVICES)}
HOOKS: Rules = {
    "stopSignal": _refused(
        "the platform stops a job with SIGTERM; handle it, or send another signal in preStop.exec"
    )
}
HOOK: Rules = dict.fromkeys(
    ("httpGet", "sleep", "tcpSocket"),
    _refused("a hook is a command here; write it as exec.command, with curl or sleep"),
)
_EITHER_SECURITY: Rules = {
    "appArmorProfile": _noted(_SANDBOX),
    "seLinuxOptions": _noted(_SANDBOX),
    "seccompProfile": _noted(_SANDBOX),
    "windowsOptions": _refused("the platform runs Linux containers; remove it"),
}
POD_SECURITY: Rules = {
    **_EITHER_SECURITY,
    "fsGroupChangePolicy": _noted(
        "has no effect: the platform sets the group of volumes by itself",
        "Always",
        "OnRootMismatch",
    ),
    "seLinuxChangePolicy": _noted(_SANDBOX),
    "supplementalGroups": _refused("the platform adds no further groups; use fsGroup"),
    "supplementalGroupsPolicy": _noted(_SANDBOX, "Merge"),
    "sysctls": _refused(_KERNEL),
}
CONTAINER_SECURITY: Rules = {
    **_EITHER_SECURITY,
    "allowPrivilegeEscalation": _noted(_SANDBOX, True),
    "privileged": _refused(_ISOLATED, False),
    "procMount": _refused(_KERNEL, "Default"),
    "readOnlyRootFilesystem": _noted(
        "has no effect: the root file system is writable, and its data is lost when the job ends",
        False,
    ),
}
CAPABILITIES: Rules = {"add": _refused(_KERNEL), "drop": _noted(_SANDBOX)}

_NO_SUCH_VOLUME = (
    "there are no such volumes on Control Plane; use a volumeset through a persistentVolumeClaim"
)
VOLUME: Rules = {
    **dict.fromkeys(
        (
            "awsElasticBlockStore",
            "azureDisk",
            "azureFile",
            "cephfs",
            "cinder",
            "csi",
            "fc",
            "flexVolume",
            "flocker",
            "gcePersistentDisk",
            "glusterfs",
            "iscsi",
            "nfs",
            "photonPersistentDisk",
            "portworxVolume",
            "quobyte",
            "rbd",
            "scaleIO",
            "storageos",
            "vsphereVolume",
        ),
        _refused(_NO_SUCH_VOLUME),
    ),
    "downwardAPI": _refused(
        "a field of the pod is not available as a file; use a variable with valueFrom.fieldRef"
    ),
    "gitRepo": _refused(
        "clone the repository in the command, or in a step of the deployment's pull section"
    ),
    "hostPath": _refused(f"{_ISOLATED}, or use an emptyDir"),
    "image": _refused(
        "a volume cannot be created from an image; copy its files into the job's image"
    ),
}
EMPTY_DIR: Rules = {
    "mode": _noted("has no effect: the platform sets the mode of a scratch volume"),
    "medium": _noted("has no effect: a scratch volume is on disk"),
    "sizeLimit": _noted("has no effect: the size of a scratch volume cannot be set"),
}
CLAIM: Rules = {"readOnly": _noted("has no effect: a volumeset is mounted read-write", False)}
FILES: Rules = {
    "defaultMode": _noted("has no effect: the platform sets the mode of a secret's files"),
    "defaultUser": _noted("has no effect: the platform sets the owner of a secret's files"),
    "optional": _noted("has no effect: the job starts only if the secret exists", False),
}
FILE: Rules = {
    "mode": _noted("has no effect: the platform sets the mode of a secret's files"),
    "user": _noted("has no effect: the platform sets the owner of a secret's files"),
}
SOURCE: Rules = {
    "clusterTrustBundle": _refused("the platform has no such certificates; put them into a secret"),
    "downwardAPI": VOLUME["downwardAPI"],
    "podCertificate": _refused("the platform has no such certificates; put them into a secret"),
    "serviceAccountToken": _refused(
        "the platform has no such token; the job has CPLN_TOKEN for its identity"
    ),
}
MOUNT: Rules = {
    "bindMountOptions": _noted("has no effect: the platform mounts volumes in its own way"),
    "mountPropagation": _refused(_ISOLATED, "None", "HostToContainer"),
    "readOnly": _noted("has no effect: the volume is mounted read-write", False),
    "recursiveReadOnly": _noted("has no effect: the volume is mounted read-write", "Disabled"),
    "subPathExpr": _refused("a variable cannot select a part of a volume; mount the whole volume"),
}
REFERENCE: Rules = {
    "optional": _noted("has no effect: the job starts only if the secret exists", False)
}
VARIABLE: Rules = {
    "fileKeyRef": _refused("a variable cannot be read from a file; read the file in the command"),
}
