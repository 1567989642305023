"""A set of containers in a place: an execution of a cron workload, or a replica of another."""

from __future__ import annotations

from typing import Protocol

from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.store import Record


class Placement(Protocol):
    """What containers have in common that run together."""

    @property
    def workload(self) -> Record:
        """The workload to which they belong."""

    @property
    def location(self) -> str:
        """Bare name of the location."""

    @property
    def name(self) -> str:
        """Name of the execution, or of the replica."""

    @property
    def replica(self) -> str:
        """Name of the replica."""

    @property
    def version(self) -> int:
        """The workload's version."""

    @property
    def command(self) -> Record | None:
        """The command that started them, if one did."""

    @property
    def disk(self) -> str:
        """Name of their volume in a volumeset that is not shared."""


def grace_seconds(placement: Placement, config: PlatformConfig) -> float:
    """Return the time between SIGTERM and the kill of containers.

    Args:
        placement: What they belong to.
        config: The configuration, whose grace holds if the workload sets none.
    """
    rollout = placement.workload.document["spec"].get("rolloutOptions") or {}
    return float(rollout.get("terminationGracePeriodSeconds", config.stop_grace_seconds))


def log_labels(placement: Placement, container: str, config: PlatformConfig) -> dict[str, str]:
    """Return the labels of a container's log, without that of the stream."""
    return {
        "gvc": str(placement.workload.gvc),
        "workload": placement.workload.name,
        "container": container,
        "location": placement.location,
        "provider": config.provider_of(placement.location),
        "replica": placement.replica,
        "version": str(placement.version),
    }
