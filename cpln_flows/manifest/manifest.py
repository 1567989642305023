"""A job's manifest as the platform runs it: a validated value, its workload and its overrides. How it is read stands beside."""

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

_EVERY_MINUTE = (
    "* * * * *"  # required by the platform; never used, because the workload is suspended
)
_SECRET = re.compile(r"cpln://secret/(?P<name>[^./:\s]+)")
_VOLUMESET = re.compile(r"cpln://volumeset/(?P<name>[^./:\s]+)")
_PLATFORM_TAGS = "cpln/"
# Part of every hash: a change in what a shared workload holds must not meet workloads that were made before it.
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
"""The platform denies all traffic by default; a job may call out and nobody may call in. A constant: copied, never changed."""


@dataclass(frozen=True)
class EnvSource:
    """A secret all of whose keys become variables.

    Attributes:
        secret: Name of the secret.
        prefix: What stands before each key in the name of its variable.
        path: Where in the manifest this stands.
    """

    secret: str
    prefix: str = ""
    path: str = field(default="", compare=False)


@dataclass(frozen=True)
class ContainerSpec:
    """One container as it shall run; ``extra`` holds what a command cannot override (working folder, volumes, ...).

    What is not in its text may hold secrets.
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
        """Names of the platform's secrets that the container is given, as variables or as volumes."""
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
        """Return all of it that a command can carry."""
        fields = {
            "name": self.name,
            "image": self.image,
            "command": self.command,
            # A command of its own without arguments takes none, whatever the workload says.
            "args": list(self.args) if self.args or self.command is not None else None,
            "env": [{"name": name, "value": value} for name, value in sorted(self.env.items())]
            or None,
            **self._amounts,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def body(self) -> dict[str, Any]:
        """Return the container of the workload's manifest."""
        return self.override() | dict(self.extra)

    def shared_body(self) -> dict[str, Any]:
        """Return the container of a workload that other jobs use too.

        An override replaces and adds but cannot take away: what one job left there, a variable for instance, would reach every
        job that does not set it.
        """
        amounts = (
            self._amounts if self._has_least else {}
        )  # every job of this hash has it too, and so overrides both amounts
        return {"name": self.name, "image": self.image, **amounts, **self.extra}

    @property
    def _has_least(self) -> bool:
        return "minCpu" in self.extra or "minMemory" in self.extra

    @property
    def _amounts(self) -> dict[str, str | None]:
        """The amounts of CPU and memory, said in full where the platform compares them with the least."""
        if self._has_least:
            return {
                "cpu": self.cpu or limits.DEFAULT_CPU,
                "memory": self.memory or limits.DEFAULT_MEMORY,
            }
        return {"cpu": self.cpu, "memory": self.memory}


@dataclass(frozen=True)
class JobManifest:
    """A job that the platform can run. The first container is the main one, the others are sidecars."""

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
    """What has no effect, and what the conversion has filled in."""

    @property
    def main(self) -> ContainerSpec:
        """The container whose end is the job's end."""
        return self.containers[0]

    @property
    def restarts(self) -> bool:
        """Whether the platform starts a container again that has failed."""
        return self.restart_policy != "Never"

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the platform's secrets that the job uses; its identity needs to reveal them."""
        return frozenset().union(*(container.secrets for container in self.containers))

    @property
    def volumesets(self) -> frozenset[str]:
        """Names of the volumesets that the job mounts."""
        return frozenset().union(*(container.volumesets for container in self.containers))

    @property
    def needs(self) -> frozenset[str]:
        """Names of the secrets whose keys must be known before the job can be started."""
        return frozenset(
            source.secret for container in self.containers for source in container.env_from
        )

    def resolved(self, keys: Mapping[str, Collection[str]]) -> JobManifest:
        """Return the manifest with a variable for each key of the secrets it needs.

        As on Kubernetes, a later source wins over an earlier one, and a variable that is written out over both.

        Args:
            keys: The keys of each secret by its name; a secret that does not exist is left out.

        Raises:
            ManifestError: A secret is missing, or the platform does not take the name of one of its keys as a variable.
        """
        faults: list[Fault] = []
        containers = tuple(_resolved(container, keys, faults) for container in self.containers)
        if faults:
            raise ManifestError(faults)
        return replace(self, containers=containers)

    def workload(
        self, *, name: str, tags: Mapping[str, str], shared: bool = False
    ) -> dict[str, Any]:
        """Return the manifest of a cron workload, suspended unless it lives on its own schedule.

        Args:
            name: Name of the workload.
            tags: Tags that win over those of the manifest.
            shared: Leave out what belongs to this job alone, because other jobs will run there. A job on its own schedule has
                no command that could bring it back, so nothing is left out of that.
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
        """Return one override for each container, whole, so that a run never depends on what the workload says.

        Args:
            env: More variables for the main container; they win.

        Raises:
            ManifestError: The platform does not take one of these variables.
        """
        more = dict(env or {})
        if faults := _faults_of(more):
            raise ManifestError(faults)
        main = replace(self.main, env={**self.main.env, **more})
        return [container.override() for container in (main, *self.containers[1:])]

    @property
    def _platform_tags(self) -> dict[str, str]:
        """The tags that change what the platform does, such as how much memory it allows for the CPU."""
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
        if (
            self.active_deadline_seconds is not None and not shared
        ):  # a command brings its own, if it has one
            job["activeDeadlineSeconds"] = self.active_deadline_seconds
        return job


def spec_hash(job: JobManifest) -> str:
    """Return the hash that jobs with interchangeable workloads share.

    It leaves out what a command brings along (image, command, args, env, cpu, memory, the deadline), the name and the tags that
    only describe; it covers the identity, the set of secrets and all else. Of a job on its own schedule it covers everything,
    because no command stands in for what the workload says.
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
            missing = f"there is no secret {source.secret!r}; create it as a secret of type dictionary, or remove the reference"
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
