"""Log lines about one job, with the prefix that users filter by."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from cpln_flows.errors import CplnError
from cpln_flows.model.identifiers import Area, LogContext

CONTINUED = "  "
"""The beginning of every further line of a report."""

Logger = logging.Logger | logging.LoggerAdapter[Any]


@dataclass(frozen=True)
class Journal:
    """A logger that knows which job its lines are about."""

    logger: Logger = field(default_factory=lambda: logging.getLogger("cpln_flows"))
    context: LogContext = field(default_factory=LogContext)

    def about(self, **known: Any) -> Journal:
        """Return a journal that knows more: ``gvc``, ``workload``, ``command_id``."""
        return replace(self, context=replace(self.context, **known))

    def debug(self, area: Area, message: str) -> None:
        """Log what matters only to someone who looks for it."""
        self.logger.debug("%s", self.context.line(area, message))

    def info(self, area: Area, message: str) -> None:
        """Log what happened."""
        self.logger.info("%s", self.context.line(area, message))

    def warning(self, area: Area, message: str) -> None:
        """Log what somebody should look at."""
        self.logger.warning("%s", self.context.line(area, message))

    def report(self, error: CplnError, area: Area = Area.JOB, *, about_start: bool = False) -> None:
        """Log once why a job, or what else the area names, did not run or did not complete.

        Args:
            error: What went wrong.
            area: What it is about.
            about_start: Whether nothing was started yet. The workload's lines then show it as well.
        """
        if error.reported:
            return
        if about_start:
            self.error(Area.WORKLOAD, f"No job was started: {error.summary}")
        notes = getattr(error, "__notes__", [])
        self.error(area, "\n".join([error.report, *notes]))
        error.reported = True

    def error(self, area: Area, message: str) -> None:
        """Log what somebody has to fix.

        Further lines are indented, by which a worker recognizes them.
        """
        first, *more = self.context.line(area, message).splitlines()
        self.logger.error("%s", "\n".join([first, *(f"{CONTINUED}{line}" for line in more)]))
