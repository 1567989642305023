"""Local mode: a Control Plane on this machine, to try things out and to test flows with jobs."""

from cpln_flows.emulator import StateError
from cpln_flows.local.platform import LocalPlatform, local_platform

__all__ = ["LocalPlatform", "StateError", "local_platform"]
