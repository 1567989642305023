"""Local mode: a Control Plane on this machine, for trying things out and for testing flows that run jobs."""

from cpln_flows.local.platform import LOCAL_TOKEN, LocalPlatform, local_platform

__all__ = ["LOCAL_TOKEN", "LocalPlatform", "local_platform"]
