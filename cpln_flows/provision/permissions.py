"""Which permission each feature needs, and for which call: one table, the only source of it. Pure.

A need stands here only if something fails without it; `tests/scenarios/test_policy.py` removes each
one in turn. A permission that implies another one (`edit` implies `view`, `readLogs` implies `view`
of the organization, `exec` implies starting and stopping jobs) replaces it only where both are
needed, and the smaller one is listed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Feature(StrEnum):
    """What an installation can be allowed to do."""

    JOBS = "jobs"
    LOGS = "logs"
    WORKER = "worker"
    SECRETS = "secrets"
    SYNC = "sync"
    CLEANUP = "cleanup"
    MANIFESTS = "manifests"
    PROVISION = "provision"


class Holder(StrEnum):
    """Who holds a permission."""

    ACCOUNT = "the service account"
    WORKER = "the worker's identity"
    SYNC = "the identity of sync"
    CLEANUP = "the identity of the clean-up"
    PROVISIONER = "the service account that provisions"


class Target(StrEnum):
    """The objects of a kind that a permission covers."""

    ORG = "the organization"
    GVC = "the GVC"
    IN_GVC = "all in the GVC"
    ALL = "all in the organization"
    OURS = "those tagged cpln/createdByPrefect"
    NAMED = "the secrets given by name"
    KEY = "the secret with the account's key"
    ACCOUNTS = "the two service accounts"


@dataclass(frozen=True)
class Need:
    """One permission that a feature needs.

    Attributes:
        feature: The feature.
        kind: Kind of the objects.
        permission: Name of the permission, as the platform has it.
        target: Which objects of the kind.
        call: Method and path of the call that needs it.
        why: What the call is for.
        holder: Who makes the call.
        filters: Whether a call without the permission is answered, but does not show the objects.
    """

    feature: Feature
    kind: str
    permission: str
    target: Target
    call: str
    why: str
    holder: Holder = Holder.ACCOUNT
    filters: bool = False

    @property
    def id(self) -> str:
        """Feature, kind and permission in one word."""
        return f"{self.feature}-{self.kind}-{self.permission}"


SUMMARIES: dict[Feature, str] = {
    Feature.JOBS: "run, follow and stop jobs, without their logs",
    Feature.LOGS: "read the logs of jobs: their live ones, and with `stream_logs`",
    Feature.WORKER: "check the place at the start of a worker, and give a worker inside the"
    " platform its key",
    Feature.SECRETS: "give jobs secrets: identities and policies made for a job, and the"
    " credentials for Prefect's API",
    Feature.SYNC: "keep flow runs and jobs in agreement",
    Feature.CLEANUP: "delete what was made for Prefect and is not used any more",
    Feature.MANIFESTS: "tasks for workloads, identities and volumesets, such as `apply_manifests`",
    Feature.PROVISION: "apply what `cpln-flows policy` prints, and make the key",
}
"""What each feature is for."""

STANDARD: tuple[Feature, ...] = (
    Feature.JOBS,
    Feature.LOGS,
    Feature.WORKER,
    Feature.SECRETS,
    Feature.SYNC,
    Feature.CLEANUP,
)
"""What an installation with a worker and the deployments of `prefect.yaml` uses."""

_BUILT_ON: dict[Feature, tuple[Feature, ...]] = {
    Feature.WORKER: (Feature.JOBS,),
    Feature.SECRETS: (Feature.JOBS,),
}

_ORG, _GVC = "GET /org/ORG", "GET /org/ORG/gvc/GVC"
_WORKLOAD = "/org/ORG/gvc/GVC/workload"
_IDENTITY = "/org/ORG/gvc/GVC/identity"

_JOBS = (
    Need(
        Feature.JOBS,
        "gvc",
        "view",
        Target.GVC,
        _GVC,
        "the first location of the GVC, if none is given; and whoever creates something below a"
        " GVC must see it",
    ),
    Need(
        Feature.JOBS,
        "workload",
        "create",
        Target.IN_GVC,
        f"POST {_WORKLOAD}",
        "the workload that a job runs on",
    ),
    Need(
        Feature.JOBS,
        "workload",
        "view",
        Target.IN_GVC,
        f"GET {_WORKLOAD}/NAME/deployment, GET {_WORKLOAD}/NAME/-command/ID",
        "whether the workload is ready, the state of its jobs, and jobs of earlier attempts",
    ),
    Need(
        Feature.JOBS,
        "volumeset",
        "view",
        Target.IN_GVC,
        "GET /org/ORG/gvc/GVC/volumeset/NAME",
        "whether a volumeset exists that a job mounts: a job that waits for a missing one never"
        " starts",
    ),
    Need(
        Feature.JOBS,
        "workload",
        "exec.runCronWorkload",
        Target.IN_GVC,
        f"POST {_WORKLOAD}/NAME/-command",
        "the start of a job",
    ),
    Need(
        Feature.JOBS,
        "workload",
        "exec.stopReplica",
        Target.IN_GVC,
        f"POST {_WORKLOAD}/NAME/-command",
        "the stop of a job at a timeout, a cancellation or an interruption",
    ),
    Need(
        Feature.JOBS,
        "workload",
        "delete",
        Target.IN_GVC,
        f"DELETE {_WORKLOAD}/NAME",
        "the deletion of a workload that was made for one job",
    ),
)
_LOGS = (
    Need(
        Feature.LOGS,
        "org",
        "readLogs",
        Target.ORG,
        "GET /logs/org/ORG/loki/api/v1/tail, GET /logs/org/ORG/loki/api/v1/query_range",
        "the live and the stored log; the platform has no narrower permission for it, so it opens"
        " the logs of all workloads of the organization",
    ),
    Need(
        Feature.LOGS,
        "workload",
        "view",
        Target.IN_GVC,
        f"GET {_WORKLOAD}/NAME/-command/ID, GET {_WORKLOAD}/NAME",
        "when the job began and ended, and which of its containers is the first",
    ),
)
_WORKER = (
    Need(
        Feature.WORKER,
        "org",
        "view",
        Target.ORG,
        _ORG,
        "the check at the start of a worker that organization and key belong together",
    ),
    Need(
        Feature.WORKER,
        "secret",
        "reveal",
        Target.KEY,
        "cpln://secret/NAME-key.payload",
        "a worker inside the platform gets its key as a variable; the platform itself checks it"
        " when the container starts",
        holder=Holder.WORKER,
    ),
)
_SECRETS = (
    Need(
        Feature.SECRETS,
        "secret",
        "view",
        Target.ALL,
        "GET /org/ORG/secret/NAME",
        "whether a secret exists that a job uses, without its values: a job that waits for a"
        " missing one never starts",
    ),
    Need(
        Feature.SECRETS,
        "secret",
        "reveal",
        Target.NAMED,
        "GET /org/ORG/secret/NAME/-reveal",
        "the keys of a secret behind `envFrom`, and `reveal_secret`",
    ),
    Need(
        Feature.SECRETS,
        "secret",
        "create",
        Target.ALL,
        "PUT /org/ORG/secret",
        "the credentials for Prefect's API, and secrets in job variables",
    ),
    Need(
        Feature.SECRETS,
        "secret",
        "edit",
        Target.OURS,
        "PUT /org/ORG/secret",
        "the same secret, stored again by another worker or after an hour",
    ),
    Need(
        Feature.SECRETS,
        "identity",
        "create",
        Target.IN_GVC,
        f"PUT {_IDENTITY}",
        "the identity of a job that uses secrets and names none",
    ),
    Need(
        Feature.SECRETS,
        "identity",
        "edit",
        Target.IN_GVC,
        f"PUT {_IDENTITY}",
        "the identity of a shared workload, marked as used by its next job",
    ),
    Need(
        Feature.SECRETS,
        "identity",
        "delete",
        Target.IN_GVC,
        f"DELETE {_IDENTITY}/NAME",
        "the deletion of an identity that was made for one job",
    ),
    Need(
        Feature.SECRETS,
        "policy",
        "create",
        Target.ALL,
        "PUT /org/ORG/policy",
        "the policy that lets the identity of a job reveal exactly its secrets",
    ),
    Need(
        Feature.SECRETS,
        "policy",
        "view",
        Target.ALL,
        "GET /org/ORG/policy",
        "whether the identity that a job names may reveal its secrets: a job that may not never"
        " starts",
        filters=True,
    ),
    Need(
        Feature.SECRETS,
        "policy",
        "edit",
        Target.OURS,
        "PUT /org/ORG/policy",
        "the policy of a shared workload, marked as used by its next job",
    ),
    Need(
        Feature.SECRETS,
        "policy",
        "delete",
        Target.OURS,
        "DELETE /org/ORG/policy/NAME",
        "the deletion of a policy that was made for one job",
    ),
)
_SYNC = (
    Need(
        Feature.SYNC,
        "org",
        "view",
        Target.ORG,
        _ORG,
        "the check at the start that organization and token belong together",
        holder=Holder.SYNC,
    ),
    Need(
        Feature.SYNC,
        "gvc",
        "view",
        Target.GVC,
        _GVC,
        "the check at the start of a sync that is limited to the GVC",
        holder=Holder.SYNC,
    ),
    Need(
        Feature.SYNC,
        "workload",
        "view",
        Target.IN_GVC,
        f"POST /org/ORG/workload/-query, POST {_WORKLOAD}/NAME/-command/-query,"
        f" GET {_WORKLOAD}/NAME/-command/ID",
        "the jobs that run, and how those of flow runs have ended",
        holder=Holder.SYNC,
    ),
    Need(
        Feature.SYNC,
        "workload",
        "exec.stopReplica",
        Target.IN_GVC,
        f"POST {_WORKLOAD}/NAME/-command",
        "the stop of a job whose flow run is over",
        holder=Holder.SYNC,
    ),
)
_CLEANUP = (
    Need(
        Feature.CLEANUP,
        "org",
        "view",
        Target.ORG,
        _ORG,
        "the check at the start that organization and token belong together",
        holder=Holder.CLEANUP,
    ),
    Need(
        Feature.CLEANUP,
        "gvc",
        "view",
        Target.GVC,
        _GVC,
        "the check at the start of a clean-up that is limited to the GVC",
        holder=Holder.CLEANUP,
    ),
    Need(
        Feature.CLEANUP,
        "workload",
        "view",
        Target.ALL,
        "POST /org/ORG/workload/-query, GET /org/ORG/workload",
        "idle workloads, and who uses an identity or a secret: a secret that only an unseen"
        " workload of another GVC uses would be deleted",
        holder=Holder.CLEANUP,
        filters=True,
    ),
    Need(
        Feature.CLEANUP,
        "workload",
        "delete",
        Target.IN_GVC,
        f"DELETE {_WORKLOAD}/NAME",
        "the deletion of idle workloads",
        holder=Holder.CLEANUP,
    ),
    Need(
        Feature.CLEANUP,
        "identity",
        "view",
        Target.IN_GVC,
        "POST /org/ORG/identity/-query",
        "the identities that were made for jobs",
        holder=Holder.CLEANUP,
        filters=True,
    ),
    Need(
        Feature.CLEANUP,
        "identity",
        "delete",
        Target.IN_GVC,
        f"DELETE {_IDENTITY}/NAME",
        "the deletion of those that no workload uses",
        holder=Holder.CLEANUP,
    ),
    Need(
        Feature.CLEANUP,
        "policy",
        "view",
        Target.OURS,
        "POST /org/ORG/policy/-query",
        "the policies that were made for jobs",
        holder=Holder.CLEANUP,
        filters=True,
    ),
    Need(
        Feature.CLEANUP,
        "policy",
        "delete",
        Target.OURS,
        "DELETE /org/ORG/policy/NAME",
        "the deletion of those that serve nobody",
        holder=Holder.CLEANUP,
    ),
    Need(
        Feature.CLEANUP,
        "secret",
        "view",
        Target.OURS,
        "POST /org/ORG/secret/-query",
        "the secrets with credentials for Prefect's API, without their values",
        holder=Holder.CLEANUP,
        filters=True,
    ),
    Need(
        Feature.CLEANUP,
        "secret",
        "delete",
        Target.OURS,
        "DELETE /org/ORG/secret/NAME",
        "the deletion of those that no workload can read",
        holder=Holder.CLEANUP,
    ),
)


def _of_objects(kind: str) -> tuple[Need, ...]:
    path = f"/org/ORG/gvc/GVC/{kind}"
    return (
        Need(
            Feature.MANIFESTS,
            kind,
            "create",
            Target.IN_GVC,
            f"PUT {path}",
            f"a new {kind} of a manifest",
        ),
        Need(
            Feature.MANIFESTS,
            kind,
            "edit",
            Target.IN_GVC,
            f"GET {path}/NAME, PUT {path}",
            f"an existing {kind}: what differs (`edit` implies `view`), and the change",
        ),
        Need(
            Feature.MANIFESTS,
            kind,
            "delete",
            Target.IN_GVC,
            f"DELETE {path}/NAME",
            f"`delete_manifests`, for the kind {kind}",
        ),
    )


_MANIFESTS = (
    Need(
        Feature.MANIFESTS,
        "gvc",
        "view",
        Target.GVC,
        f"PUT {_WORKLOAD}",
        "whoever creates something below a GVC must see it",
    ),
    *(need for kind in ("identity", "volumeset", "workload") for need in _of_objects(kind)),
)


def _provisioning(kind: str, permission: str, target: Target, call: str, why: str) -> Need:
    return Need(Feature.PROVISION, kind, permission, target, call, why, holder=Holder.PROVISIONER)


_PROVISION = (
    _provisioning(
        "gvc",
        "view",
        Target.GVC,
        f"PUT {_IDENTITY}",
        "whoever creates something below a GVC must see it",
    ),
    _provisioning("identity", "create", Target.IN_GVC, f"PUT {_IDENTITY}", "a new identity"),
    _provisioning(
        "identity",
        "edit",
        Target.IN_GVC,
        f"GET {_IDENTITY}/NAME, PUT {_IDENTITY}",
        "an identity that exists (`edit` implies `view`)",
    ),
    _provisioning(
        "serviceaccount",
        "create",
        Target.ALL,
        "PUT /org/ORG/serviceaccount",
        "a new service account",
    ),
    _provisioning(
        "serviceaccount",
        "view",
        Target.ACCOUNTS,
        "GET /org/ORG/serviceaccount/NAME",
        "what differs; `edit` does not imply it for this kind",
    ),
    _provisioning(
        "serviceaccount",
        "edit",
        Target.ACCOUNTS,
        "PUT /org/ORG/serviceaccount",
        "a service account that exists",
    ),
    _provisioning(
        "serviceaccount",
        "addKey",
        Target.ACCOUNTS,
        "POST /org/ORG/serviceaccount/NAME/-addKey",
        "`cpln serviceaccount add-key`",
    ),
    _provisioning("policy", "create", Target.ALL, "PUT /org/ORG/policy", "a new policy"),
    _provisioning(
        "policy",
        "edit",
        Target.ALL,
        "GET /org/ORG/policy/NAME, PUT /org/ORG/policy",
        "a policy that exists (`edit` implies `view`)",
    ),
    _provisioning(
        "secret",
        "create",
        Target.ALL,
        "POST /org/ORG/secret",
        "`cpln secret create-opaque` with the account's key",
    ),
)

NEEDS: tuple[Need, ...] = (
    *_JOBS,
    *_LOGS,
    *_WORKER,
    *_SECRETS,
    *_SYNC,
    *_CLEANUP,
    *_MANIFESTS,
    *_PROVISION,
)
"""The table."""


def with_prerequisites(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """Return features and those that they are built on, in the order of the table.

    >>> [str(feature) for feature in with_prerequisites([Feature.SECRETS])]
    ['jobs', 'secrets']
    """
    chosen = set(features)
    chosen |= {base for feature in chosen for base in _BUILT_ON.get(feature, ())}
    return tuple(feature for feature in Feature if feature in chosen)


def of(*features: Feature) -> tuple[Need, ...]:
    """Return what features need, with what they are built on.

    Args:
        features: The features.
    """
    chosen = with_prerequisites(features)
    return tuple(need for need in NEEDS if need.feature in chosen)
