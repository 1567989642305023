"""What is said about one job: log lines with the prefix that users filter by."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from cpln_flows.model.identifiers import Area, LogContext

Logger = logging.Logger | logging.LoggerAdapter[Any]


@dataclass(frozen=True)
class Journal:
    """A logger that knows which job it speaks of."""

    logger: Logger = field(default_factory=lambda: logging.getLogger("cpln_flows"))
    context: LogContext = field(default_factory=LogContext)

    def about(self, **known: Any) -> Journal:
        """Return a journal that knows more: ``gvc``, ``workload``, ``command_id``."""
        return replace(self, context=replace(self.context, **known))

    def debug(self, area: Area, message: str) -> None:
        """Say what matters only to someone who looks for it."""
        self.logger.debug("%s", self.context.line(area, message))

    def info(self, area: Area, message: str) -> None:
        """Say what happened."""
        self.logger.info("%s", self.context.line(area, message))

    def warning(self, area: Area, message: str) -> None:
        """Say what somebody should look at."""
        self.logger.warning("%s", self.context.line(area, message))

    def error(self, area: Area, message: str) -> None:
        """Say what somebody must look at."""
        self.logger.error("%s", self.context.line(area, message))
