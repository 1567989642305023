"""Emulate Control Plane in one process: its API, its logs service, and jobs that really run.

The API and the logs service are served over HTTP and WebSocket.
"""

from cpln_flows.emulator.app import Platform
from cpln_flows.emulator.clock import Clock, ManualClock, RealClock
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.executors.base import Container, Executor, RunSpec
from cpln_flows.emulator.executors.process import ProcessExecutor
from cpln_flows.emulator.executors.script import (
    Exit,
    ImagePullFailure,
    Line,
    NeverStart,
    OutOfMemory,
    Script,
    ScriptedExecutor,
)
from cpln_flows.emulator.faults import Fault
from cpln_flows.emulator.recorder import RequestRecord
from cpln_flows.emulator.server import Running, Server, serve_in_thread
from cpln_flows.emulator.state import StateError, StateFolder

__all__ = [
    "Clock",
    "Container",
    "Executor",
    "Exit",
    "Fault",
    "ImagePullFailure",
    "Line",
    "ManualClock",
    "NeverStart",
    "OutOfMemory",
    "Platform",
    "PlatformConfig",
    "ProcessExecutor",
    "RealClock",
    "RequestRecord",
    "RunSpec",
    "Running",
    "Script",
    "ScriptedExecutor",
    "Server",
    "StateError",
    "StateFolder",
    "serve_in_thread",
]
