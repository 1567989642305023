"""A job's manifest as the platform runs it: a validated value, its workload and its overrides. How it is read stands beside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from cpln_flows.model import limits

_NOTHING: Mapping[str, str] = MappingProxyType({})
_EVERY_MINUTE = "* * * * *"  # required by the platform; never used, because the workload is suspended
_HISTORY = limits.HISTORY

OPEN_OUTBOUND: Mapping[str, Any] = MappingProxyType(
    {
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
)
"""The platform denies all traffic by default; a job may call out and nobody may call in."""


@dataclass(frozen=True)
class ContainerSpec:
    """One container as it shall run; ``extra`` holds what a command cannot override (working folder, volumes, ...)."""

    name: str
    image: str
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cpu: str | None = None
    memory: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def override(self) -> dict[str, Any]:
        """Return all of it that a command can carry."""
        fields = {
            "name": self.name,
            "image": self.image,
            "command": self.command,
            "args": list(self.args) or None,
            "env": [{"name": name, "value": value} for name, value in sorted(self.env.items())] or None,
            "cpu": self.cpu,
            "memory": self.memory,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def body(self) -> dict[str, Any]:
        """Return the container of the workload's manifest."""
        return self.override() | dict(self.extra)


@dataclass(frozen=True)
class JobManifest:
    """A job that the platform can run. The first container is the main one, the others are sidecars."""

    containers: tuple[ContainerSpec, ...]
    name: str | None = None
    active_deadline_seconds: int | None = None
    identity: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    job_type: Literal["standard", "cron"] = "standard"
    schedule: str = _EVERY_MINUTE
    concurrency_policy: str = "Forbid"
    history_limit: int = _HISTORY
    restart_policy: str = "Never"
    firewall: Mapping[str, Any] = field(default_factory=lambda: OPEN_OUTBOUND)
    options: Mapping[str, Any] = field(default_factory=dict)
    extra_spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> ContainerSpec:
        """The container whose end is the job's end."""
        return self.containers[0]

    def workload(self, *, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
        """Return the manifest of a cron workload, suspended unless it lives on its own schedule.

        Args:
            name: Name of the workload.
            tags: Tags that win over those of the manifest.
        """
        return {"kind": "workload", "name": name, "tags": dict(self.tags) | dict(tags), "spec": self._spec()}

    def overrides(self, env: Mapping[str, str] = _NOTHING) -> list[dict[str, Any]]:
        """Return one override for each container, whole, so that a run never depends on what the workload says.

        Args:
            env: More variables for the main container; they win.
        """
        main = ContainerSpec(**{**self.main.__dict__, "env": {**self.main.env, **env}})
        return [container.override() for container in (main, *self.containers[1:])]

    def _spec(self) -> dict[str, Any]:
        job: dict[str, Any] = {
            "schedule": self.schedule,
            "concurrencyPolicy": self.concurrency_policy,
            "historyLimit": self.history_limit,
            "restartPolicy": self.restart_policy,
        }
        if self.active_deadline_seconds is not None:
            job["activeDeadlineSeconds"] = self.active_deadline_seconds
        suspended = {"capacityAI": False, "debug": False, "suspend": self.job_type == "standard"}
        spec: dict[str, Any] = {
            "type": "cron",
            "containers": [container.body() for container in self.containers],
            "job": job,
            "defaultOptions": {**self.options, **suspended},
            "firewallConfig": dict(self.firewall),
            **self.extra_spec,
        }
        if self.identity is not None:
            spec["identityLink"] = self.identity
        return spec


def spec_hash(job: JobManifest) -> str:
    """Return the hash that jobs with interchangeable workloads share.

    It leaves out what every command overrides (image, command, args, env, cpu, memory), the deadline, which a command carries
    too, and the name; it covers the identity and all else.
    """
    spec = job.workload(name="", tags={})["spec"]
    spec["job"].pop("activeDeadlineSeconds", None)
    spec["containers"] = [{"name": container.name, **container.extra} for container in job.containers]
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()
