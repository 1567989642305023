"""A validated job manifest, with the workload and the overrides that are made of it.

The modules beside this one read manifests.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cpln_flows.errors import Fault, ManifestError
from cpln_flows.manifest import limits

# The platform requires a schedule; this one is never used, because the workload is suspended.
_EVERY_MINUTE = "* * * * *"
_SECRET = re.compile(r"cpln://secret/(?P<name>[^./:\s]+)")
_VOLUMESET = re.compile(r"cpln://volumeset/(?P<name>[^./:\s]+)")
_PLATFORM_TAGS = "cpln/"
# Part of every hash: once the content of shared workloads changes, jobs must not reuse workloads
# that were made before.
_FORM = 1

OPEN_OUTBOUND: dict[str, Any] = {
    "external": {
        "inboundAllowCIDR": [],
        "inboundBlockedCIDR": [],
        "outboundAllowCIDR": ["0.0.0.0/0"],
        "outboundAllowHostname": [],
        "outboundAllowPort": [],
        "outboundBlockedCIDR": [],
    },
    "internal": {"inboundAllowType": "none", "inboundAllowWorkload": []},
}
"""The firewall of a job: it may call out, and nobody may call in.

The platform denies all traffic by default. Copy this constant, never change it.
"""


@dataclass(frozen=True)
class EnvSource:
    """A secret of which every key becomes a variable.

    Attributes:
        secret: Name of the secret.
        prefix: Prefix of each key in the name of its variable.
        path: Path of the reference in the manifest.
    """

    secret: str
    prefix: str = ""
    path: str = field(default="", compare=False)


@dataclass(frozen=True)
class ContainerSpec:
    """One container as it is to run.

    Fields that may contain secrets are not in the repr. ``extra`` has the fields that a command
    cannot override, such as the working directory and the volumes.
    """

    name: str
    image: str
    command: str | None = field(default=None, repr=False)
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cpu: str | None = None
    memory: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    env_from: tuple[EnvSource, ...] = ()

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the platform's secrets that the container gets as variables or as volumes."""
        named = {
            match["name"]
            for text in (*self.env.values(), *self._uris)
            if (match := _SECRET.match(text))
        }
        return frozenset(named | {source.secret for source in self.env_from})

    @property
    def volumesets(self) -> frozenset[str]:
        """Names of the volumesets that the container mounts."""
        return frozenset(
            match["name"] for uri in self._uris if (match := _VOLUMESET.fullmatch(uri))
        )

    @property
    def _uris(self) -> list[str]:
        return [
            str(volume.get("uri"))
            for volume in self.extra.get("volumes", ())
            if isinstance(volume, Mapping)
        ]

    def override(self) -> dict[str, Any]:
        """Return the fields that a command can carry."""
        fields = {
            "name": self.name,
            "image": self.image,
            "command": self.command,
            # A command without arguments gets none, even if the workload has some.
            "args": list(self.args) if self.args or self.command is not None else None,
            "env": [{"name": name, "value": value} for name, value in sorted(self.env.items())]
            or None,
            **self._amounts,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def body(self) -> dict[str, Any]:
        """Return the container for the workload's manifest."""
        return self.override() | dict(self.extra)

    def shared_body(self) -> dict[str, Any]:
        """Return the container for a workload that other jobs use too.

        An override replaces and adds but cannot remove. Anything that one job left in the workload,
        such as a variable, would reach every job that does not set it.
        """
        # Every job with this hash has minimums too, and therefore overrides both amounts.
        amounts = self._amounts if self._has_least else {}
        return {"name": self.name, "image": self.image, **amounts, **self.extra}

    @property
    def _has_least(self) -> bool:
        return "minCpu" in self.extra or "minMemory" in self.extra

    @property
    def _amounts(self) -> dict[str, str | None]:
        """The amounts of CPU and memory, explicit if the platform compares them to minimums."""
        if self._has_least:
            return {
                "cpu": self.cpu or limits.DEFAULT_CPU,
                "memory": self.memory or limits.DEFAULT_MEMORY,
            }
        return {"cpu": self.cpu, "memory": self.memory}


@dataclass(frozen=True)
class JobManifest:
    """A job that the platform can run: a main container first, then its sidecars."""

    containers: tuple[ContainerSpec, ...]
    name: str | None = None
    active_deadline_seconds: int | None = None
    identity: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict, repr=False)
    job_type: Literal["standard", "cron"] = "standard"
    description: str | None = field(default=None, repr=False)
    schedule: str = _EVERY_MINUTE
    concurrency_policy: str = "Forbid"
    history_limit: int = limits.HISTORY
    restart_policy: str = "Never"
    firewall: Mapping[str, Any] = field(default_factory=lambda: OPEN_OUTBOUND)
    options: Mapping[str, Any] = field(default_factory=dict)
    extra_spec: Mapping[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[Fault, ...] = ()
    """Fields without effect, and values that the conversion has filled in."""

    @property
    def main(self) -> ContainerSpec:
        """The container whose end is the job's end."""
        return self.containers[0]

    @property
    def restarts(self) -> bool:
        """Whether the platform restarts a failed container."""
        return self.restart_policy != "Never"

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the platform's secrets that the job uses; its identity must reveal them."""
        return frozenset().union(*(container.secrets for container in self.containers))

    @property
    def volumesets(self) -> frozenset[str]:
        """Names of the volumesets that the job mounts."""
        return frozenset().union(*(container.volumesets for container in self.containers))

    @property
    def needs(self) -> frozenset[str]:
        """Names of the secrets whose keys must be known before the job can start."""
        return frozenset(
            source.secret for container in self.containers for source in container.env_from
        )

    def resolved(self, keys: Mapping[str, Collection[str]]) -> JobManifest:
        """Return the manifest with a variable for each key of the secrets it needs.

        As on Kubernetes, a later source overrides an earlier one, and an explicit variable
        overrides both.

        Args:
            keys: The keys of each secret by its name, without secrets that do not exist.

        Raises:
            ManifestError: A secret is missing, or the platform does not accept the name of one of
                its keys as a variable.
        """
        faults: list[Fault] = []
        containers = tuple(_resolved(container, keys, faults) for container in self.containers)
        if faults:
            raise ManifestError(faults)
        return replace(self, containers=containers)

    def workload(
        self, *, name: str, tags: Mapping[str, str], shared: bool = False
    ) -> dict[str, Any]:
        """Return the manifest of a cron workload, suspended unless it runs on its own schedule.

        Args:
            name: Name of the workload.
            tags: Tags that override those of the manifest.
            shared: Omit what belongs to this job alone, because other jobs will run there. Nothing
                is omitted for a job on its own schedule, because no command could restore it.
        """
        shared = shared and self.job_type == "standard"
        body: dict[str, Any] = {
            "kind": "workload",
            "name": name,
            "tags": (self._platform_tags if shared else dict(self.tags)) | dict(tags),
            "spec": self._spec(shared=shared),
        }
        if self.description is not None:
            body["description"] = self.description
        return copy.deepcopy(body)

    def overrides(self, env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return one complete override for each container.

        It is complete so that a run never depends on the content of the workload.

        Args:
            env: Additional variables for the main container; they override its own.

        Raises:
            ManifestError: The platform does not accept one of these variables.
        """
        more = dict(env or {})
        if faults := _faults_of(more):
            raise ManifestError(faults)
        main = replace(self.main, env={**self.main.env, **more})
        return [container.override() for container in (main, *self.containers[1:])]

    @property
    def _platform_tags(self) -> dict[str, str]:
        """The tags that change the platform's behavior, such as its limit of memory per CPU."""
        return {name: value for name, value in self.tags.items() if name.startswith(_PLATFORM_TAGS)}

    def _spec(self, *, shared: bool) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "type": "cron",
            "containers": [
                container.shared_body() if shared else container.body()
                for container in self.containers
            ],
            "job": self._job(shared=shared),
            "defaultOptions": {
                "capacityAI": False,
                "debug": False,
                **self.options,
                "suspend": self.job_type == "standard",
            },
            "firewallConfig": dict(self.firewall),
            **self.extra_spec,
        }
        if self.identity is not None:
            spec["identityLink"] = self.identity
        return spec

    def _job(self, *, shared: bool) -> dict[str, Any]:
        job: dict[str, Any] = {
            "schedule": self.schedule,
            "concurrencyPolicy": self.concurrency_policy,
            "historyLimit": self.history_limit,
            "restartPolicy": self.restart_policy,
        }
        # On a shared workload, each command brings its own deadline, if it has one.
        if self.active_deadline_seconds is not None and not shared:
            job["activeDeadlineSeconds"] = self.active_deadline_seconds
        return job


def spec_hash(job: JobManifest) -> str:
    """Return the hash that jobs with interchangeable workloads share.

    The hash omits what a command brings along (image, command, args, env, cpu, memory, the
    deadline), the name, and tags that only describe. It covers the identity, the set of secrets and
    everything else. For a job on its own schedule it covers everything, because no command
    overrides the workload.
    """
    covered = job.workload(name="", tags={}, shared=True)
    if job.job_type == "standard":
        covered["spec"]["containers"] = [
            {"name": container.name, **container.extra} for container in job.containers
        ]
    covered |= {"form": _FORM, "secrets": sorted(job.secrets)}
    text = json.dumps(covered, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _resolved(
    container: ContainerSpec, keys: Mapping[str, Collection[str]], faults: list[Fault]
) -> ContainerSpec:
    found: dict[str, str] = {}
    for source in container.env_from:
        if source.secret not in keys:
            missing = (
                f"there is no secret {source.secret!r}; create it as a secret of type dictionary,"
                " or remove the reference"
            )
            faults.append(Fault(source.path, missing))
        for key in sorted(keys.get(source.secret, ())):
            name = f"{source.prefix}{key}"
            if wrong := limits.env_name(name):
                faults.append(
                    Fault(source.path, f"the key {key!r} of the secret {source.secret!r}: {wrong}")
                )
            found[name] = f"cpln://secret/{source.secret}.{key}"
    return replace(container, env={**found, **container.env}, env_from=())


def _faults_of(env: Mapping[str, str]) -> list[Fault]:
    checked = [
        (name, limits.env_name(name) or limits.env_value(value)) for name, value in env.items()
    ]
    return [Fault(f"env.{name}", wrong) for name, wrong in checked if wrong]
