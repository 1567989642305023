"""The probes of a container: what they ask for, and what a row of answers means. Pure.

Defaults are those of the vendor's Terraform provider. A container that declares a port and has no
readiness probe is ready when the port accepts connections.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.executors.base import Check

_UNTIL_READY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of a container; times are in seconds.

    Attributes:
        check: What is asked, with the port that the container declares.
        initial_delay: Time from the container's start to the first check.
        period: Time between two checks.
        failures: Checks that fail in a row until the probe has failed.
        successes: Checks that succeed in a row until it has succeeded again.
        eager_period: Time between two checks as long as none has succeeded.
    """

    check: Check
    initial_delay: float
    period: float
    failures: int
    successes: int
    eager_period: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe has found so far.

    Attributes:
        is_passing: Whether the probe has succeeded; at first, a readiness probe has not.
        run: Equal answers in a row: successes as a positive number, failures as a negative one.
        reason: Why the last check failed.
    """

    is_passing: bool
    run: int = 0
    reason: str = ""

    def after(self, problem: str | None, probe: Probe) -> Health:
        """Return what is known after one more check; ``problem`` is why it failed."""
        if problem is None:
            run = max(self.run, 0) + 1
            return Health(self.is_passing or run >= probe.successes, run)
        run = min(self.run, 0) - 1
        return Health(self.is_passing and -run < probe.failures, run, problem)


def readiness_of(container: Document) -> Probe | None:
    """Return the readiness probe of a container; ``None`` if it is ready when it runs."""
    given = container.get("readinessProbe")
    if given is not None:
        return _probe(given, container)
    port = first_port(container)
    if port is None:
        return None
    check = Check("tcp", port=port, timeout_seconds=1.0)
    return Probe(check, 0.0, 10.0, 3, 1, eager_period=_UNTIL_READY_SECONDS)


def liveness_of(container: Document) -> Probe | None:
    """Return the liveness probe of a container, if it has one."""
    given = container.get("livenessProbe")
    return None if given is None else replace(_probe(given, container), successes=1)


def first_port(container: Document) -> int | None:
    """Return the first port that a container declares."""
    declared = ports_of(container)
    return declared[0] if declared else None


def ports_of(container: Document) -> list[int]:
    """Return the ports that a container declares, in their order."""
    ports = [port["number"] for port in container.get("ports") or () if port.get("number")]
    return ports or ([container["port"]] if container.get("port") else [])


def _probe(given: Document, container: Document) -> Probe:
    return Probe(
        check=_check(given, container),
        initial_delay=given.get("initialDelaySeconds", 10),
        period=given.get("periodSeconds", 10),
        failures=given.get("failureThreshold", 3),
        successes=given.get("successThreshold", 1),
    )


def _check(given: Document, container: Document) -> Check:
    seconds = float(given.get("timeoutSeconds", 1))
    if (command := given.get("exec")) is not None:
        words = tuple(command.get("command") or ())
        return Check("exec", command=words, timeout_seconds=seconds)
    if (request := given.get("httpGet")) is not None:
        headers = request.get("httpHeaders") or ()
        return Check(
            "http",
            port=request.get("port") or first_port(container),
            path=request.get("path") or "/",
            scheme=str(request.get("scheme") or "HTTP").lower(),
            headers=tuple((each.get("name", ""), each.get("value", "")) for each in headers),
            timeout_seconds=seconds,
        )
    of_port = given.get("grpc") or given.get("tcpSocket") or {}
    port = of_port.get("port") or first_port(container)
    kind: Literal["grpc", "tcp"] = "tcp" if given.get("grpc") is None else "grpc"
    return Check(kind, port=port, timeout_seconds=seconds)
