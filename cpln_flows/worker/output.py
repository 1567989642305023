"""The output of a flow run's job on its way into the flow run's logs."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cpln_flows.jobs.journal import Logger
from cpln_flows.model import log_lines
from cpln_flows.model.log_lines import LogEntry

KEPT_LINES = 500
"""So many last lines are at hand when a job dies before its flow could say anything."""

_NS = 1_000_000_000
# What the engine prints of a flow or task run it has sent to the API itself.
_SENT_BY_ENGINE = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| (Flow|Task) run '")
_TRACEBACK = "Traceback (most recent call last):"
_LINE = re.compile(r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00) - ")


@dataclass
class _Engine:
    """Which lines of the output the engine has sent to Prefect's API itself: its messages, and the traceback after one."""

    may_trace: bool = False
    traces: bool = False

    def has_sent(self, line: str) -> bool:
        if _SENT_BY_ENGINE.match(line):
            self.may_trace, self.traces = True, False
            return True
        if self.traces:
            self.traces = line.startswith(" ")  # the line after the last frame is the exception
            return True
        self.traces = self.may_trace and line == _TRACEBACK
        self.may_trace = False
        return self.traces


@dataclass
class Output:
    """Forwards lines to a flow run's logger.

    Args:
        logger: The flow run's logger.
        forwards: Whether lines are forwarded as they come; the last ones are kept in any case.
        named: Whether a line says which container it comes from, because there are several.
        known: Lines that are in the flow run's logs already.
    """

    logger: Logger
    forwards: bool
    named: bool
    known: Counter[str] = field(default_factory=Counter)
    kept: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _engine: _Engine = field(default_factory=_Engine)

    def deliver(self, entry: LogEntry) -> None:
        """Take a line of the job."""
        line = log_lines.render(entry._replace(line=f"[{entry.key.container}] {entry.line}") if self.named else entry)
        if not self.forwards or self._engine.has_sent(entry.line):
            self.kept.append(line)
        elif self.known[line] > 0:
            self.known[line] -= 1
        else:
            self.logger.info("%s", line)

    def flush(self) -> None:
        """Forward the kept lines too: nobody else has told them."""
        for line in self.kept:
            self.logger.info("%s", line)
        self.kept.clear()


def forwarded(messages: Iterable[str]) -> Counter[str]:
    """Return the lines of a job among the messages of a flow run's log."""
    return Counter(message for message in messages if _LINE.match(message))


def oldest_ns(lines: Iterable[str]) -> int | None:
    """Return the time of the oldest of these lines, in nanoseconds."""
    times = [datetime.fromisoformat(match["time"]) for line in lines if (match := _LINE.match(line))]
    return int(min(times).timestamp()) * _NS if times else None
