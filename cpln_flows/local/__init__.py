"""Local mode: a Control Plane on this machine, for trying things out and for testing flows that run jobs."""

from cpln_flows.local.platform import LocalPlatform, local_platform

__all__ = ["LocalPlatform", "local_platform"]
