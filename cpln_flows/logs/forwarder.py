"""Lines of a job on their way into a logger of Prefect, within a budget (budget)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cpln_flows.logger import Logger
from cpln_flows.logs.budget import Budget, Forwarding, Shown


class Forwarder:
    """Sends lines to a logger, which takes them without waiting and hands them to Prefect's API in its own time.

    The budget keeps what waits there so small that the end of a run does not wait long for it.

    Args:
        logger: A flow or task run's logger.
        budget: How much it gets.
        shown: What an earlier process has sent.
    """

    def __init__(self, logger: Logger, budget: Budget, shown: Shown | None = None) -> None:
        self._logger = logger
        self._forwarding = Forwarding(budget, time.monotonic(), shown)

    def send(self, lines: Sequence[str]) -> None:
        """Send lines as far as the budget allows."""
        for level, text in self._forwarding.take(lines, time.monotonic()):
            self._logger.log(level, "%s", text)

    def finish(self) -> None:
        """Say what is still to be said when the log has ended."""
        for level, text in self._forwarding.flush(time.monotonic()):
            self._logger.log(level, "%s", text)
