"""Forward lines of a job to a logger of Prefect, within a budget (``budget``)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cpln_flows.logger import Logger
from cpln_flows.logs.budget import Budget, Forwarding, Shown


class Forwarder:
    """Send lines to a logger, within a budget.

    The logger accepts them without waiting and passes them to Prefect's API in its own time. The
    budget keeps that queue so short that the end of a run does not wait long for it.

    Args:
        logger: Logger of a flow run or task run.
        budget: How much may be sent.
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
        """Send what remains when the log has ended."""
        for level, text in self._forwarding.flush(time.monotonic()):
            self._logger.log(level, "%s", text)
