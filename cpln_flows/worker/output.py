"""The output of a flow run's job on its way into the flow run's logs."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from cpln_flows.jobs.forward import Forwarder
from cpln_flows.model import log_lines
from cpln_flows.model.log_lines import Batch

KEPT_LINES = 500
"""So many last lines are at hand when a job dies before its flow could say anything."""

_NS = 1_000_000_000
# What the engine prints of a flow or task run it has sent to the API itself.
_SENT_BY_ENGINE = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| (Flow|Task) run '")
_TRACEBACK = "Traceback (most recent call last):"


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
        forwarder: The way into the flow run's logs.
        forwards: Whether lines are forwarded as they come; the last ones are kept in any case.
        named: Whether a line says which container it comes from, because there are several.
        kept: The last lines that were not forwarded.
    """

    forwarder: Forwarder
    forwards: bool
    named: bool
    kept: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _engine: _Engine = field(default_factory=_Engine)

    def deliver(self, batch: Batch) -> None:
        """Take lines of the job."""
        rendered = log_lines.render(batch, f"[{batch.key.container}] " if self.named else "")
        if not self.forwards:
            self.kept.extend(rendered)
            return
        wanted: list[str] = []
        for text, line in zip(batch.lines, rendered, strict=True):
            (self.kept if self._engine.has_sent(text) else wanted).append(line)
        self.forwarder.send(wanted)

    def finish(self) -> None:
        """Say what is still to be said when the log has ended."""
        self.forwarder.finish()

    def flush(self) -> None:
        """Forward the kept lines too: nobody else has told them."""
        self.forwarder.send(list(self.kept))
        self.forwarder.finish()
        self.kept.clear()


def to_ns(stamp: str) -> int:
    """Return the second of a rendered time, in nanoseconds.

    >>> to_ns("1970-01-01T00:00:01.500000+00:00")
    1000000000
    """
    return int(datetime.fromisoformat(stamp).timestamp()) * _NS
