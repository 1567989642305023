"""How many requests a second each token may send, and the refusal of more."""

from __future__ import annotations

from collections import Counter

from cpln_flows.emulator.answers import TOO_MANY_REQUESTS, refuse
from cpln_flows.emulator.clock import NANOSECONDS, Clock
from cpln_flows.emulator.config import PlatformConfig


class RequestRate:
    """Counts the requests of each token within each second of the platform's clock."""

    def __init__(self, config: PlatformConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._second = -1
        self._sent: Counter[str] = Counter()

    def count(self, token: str) -> None:
        """Count one request; raise ``RefusedError`` if it is one too many.

        Args:
            token: What tells one sender from another.
        """
        most = self._config.request_limit
        if most is None:
            return
        second = self._clock.time_ns() // NANOSECONDS
        if second != self._second:
            self._second = second
            self._sent.clear()
        self._sent[token] += 1
        if self._sent[token] > most:
            message = f"too many requests: the limit is {most} per second"
            raise refuse(TOO_MANY_REQUESTS, message, headers=(("retry-after", "1"),))
