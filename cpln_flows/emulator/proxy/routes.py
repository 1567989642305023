"""What a router decides about a request, and the router as the proxy sees it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a ready replica listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request may go.

    Attributes:
        backends: The ready replicas in the order in which they are to be tried. If it is empty,
            none is ready.
        timeout_seconds: How long a request may take, from its head to the last byte of the
            response.
        is_raw: The port speaks TCP and not HTTP: it is reached by CONNECT only, the bytes are
            passed on untouched, and there is no timeout.
    """

    backends: tuple[Backend, ...]
    timeout_seconds: float
    is_raw: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request goes nowhere, as its sender is to read it."""

    status: int
    message: str


class Router(Protocol):
    """Decides where requests go. The proxy asks for each request, because readiness changes."""

    def internal(self, credentials: str | None, host: str, port: int) -> Route | Refused | None:
        """Route a request of a container.

        Args:
            credentials: The ``user:password`` that the container presented; ``None`` if there
                was none, or none that could be read.
            host: The host that it asked for, in lowercase; an IPv6 address without brackets.
            port: The port that it asked for.

        Returns:
            ``None`` if the platform has no such name: the request goes to the outside world.
        """

    def canonical(self, workload: str, address: str) -> Route | Refused:
        """Route a request to the canonical endpoint of a workload.

        Args:
            workload: The link of the workload.
            address: The IP address of the caller.
        """
