"""How the proxy treats its connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What the proxy bears.

    Attributes:
        connections: How many clients may be connected.
        head_seconds: How long the head of a request may take to arrive.
        idle_seconds: How long a connection may wait for its next request.
        linger_seconds: How long the rest of a request is read after it was answered.
        linger_bytes: How much of it is read.
    """

    connections: int = 512
    head_seconds: float = 15.0
    idle_seconds: float = 75.0
    linger_seconds: float = 2.0
    linger_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Conduct:
    """The limits, and whether the timeout of a route ends upgraded connections, too."""

    limits: Limits
    websocket_timeout: Callable[[], bool]


DEFAULT_LIMITS = Limits()
