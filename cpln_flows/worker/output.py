"""The output of a flow run's job on its way into the flow run's logs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from cpln_flows.logger import CONTINUED
from cpln_flows.logs.budget import Shown
from cpln_flows.logs.sink import Rendering, Sink
from cpln_flows.model import image_faults
from cpln_flows.model.log_lines import Batch
from cpln_flows.model.time import NS

KEPT_LINES = 500
"""How many last lines are kept for a job that dies before its flow could log anything."""

_OVERLAP_SECONDS = 10
# The engine itself has sent to the API what it prints about a flow run or a task run.
_SENT_BY_ENGINE = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| (Flow|Task) run '")
_REPORT = re.compile(r"^\S+ \| ERROR +\| .* - \[CPLN\] ")
_TRACEBACK = "Traceback (most recent call last):"
_GROUP_TRACEBACK = f"  + Exception Group {_TRACEBACK}"
_CHAINED = frozenset(
    {
        "The above exception was the direct cause of the following exception:",
        "During handling of the above exception, another exception occurred:",
    }
)


class _Place(Enum):
    """Which part of the engine's own messages the last line belonged to."""

    NOWHERE = auto()
    MESSAGE = auto()
    REPORT = auto()
    TRACEBACK = auto()
    GROUP = auto()
    EXCEPTION = auto()
    CHAIN = auto()


_TRACE = (_TRACEBACK.__eq__, _Place.TRACEBACK)
_GROUP = (_GROUP_TRACEBACK.__eq__, _Place.GROUP)
_CHAIN = (_CHAINED.__contains__, _Place.CHAIN)
_NEXT: Mapping[_Place, Sequence[tuple[Callable[[str], bool], _Place]]] = {
    _Place.MESSAGE: (_TRACE, _GROUP),
    _Place.REPORT: ((lambda line: line.startswith(CONTINUED), _Place.REPORT),),
    # The line after the last frame is the exception.
    _Place.TRACEBACK: (
        (lambda line: line.startswith(" "), _Place.TRACEBACK),
        (lambda _: True, _Place.EXCEPTION),
    ),
    _Place.GROUP: ((lambda line: line.startswith(" "), _Place.GROUP), _CHAIN),
    _Place.EXCEPTION: (_CHAIN,),
    _Place.CHAIN: (_TRACE, _GROUP),
}


@dataclass
class _Engine:
    """Which lines of the output the engine itself has sent to Prefect's API.

    These are its messages, the continuation lines of a report of this library, and the traceback
    after a message with those that it is chained to.
    """

    place: _Place = _Place.NOWHERE

    def has_sent(self, line: str) -> bool:
        self.place = self._next(line)
        return self.place is not _Place.NOWHERE

    def _next(self, line: str) -> _Place:
        if _SENT_BY_ENGINE.match(line):
            return _Place.REPORT if _REPORT.match(line) else _Place.MESSAGE
        return next(
            (place for continues, place in _NEXT.get(self.place, ()) if continues(line)),
            _Place.NOWHERE,
        )


@dataclass
class Output:
    """Forwards lines to a flow run's logger.

    Args:
        forwarder: The way into the flow run's logs.
        forwards: Whether lines are forwarded as they arrive. The last ones are kept in any case.
        rendering: Which lines are shown, and how.
        kept: The last lines that were not forwarded.
        last: The beginnings of the last lines of all, as the container printed them.
    """

    forwarder: Sink
    forwards: bool
    rendering: Rendering
    kept: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    last: deque[str] = field(default_factory=lambda: deque(maxlen=image_faults.LAST_LINES))
    _engine: _Engine = field(default_factory=_Engine)

    def deliver(self, batch: Batch) -> None:
        """Take lines of the job."""
        newest = batch.lines[-image_faults.LAST_LINES :]
        self.last.extend(line[: image_faults.LONGEST_LINE] for line in newest)
        rendered = self.rendering.lines(batch)
        if not self.forwards:
            self.kept.extend(rendered)
            return
        wanted: list[str] = []
        for text, line in zip(batch.lines, rendered, strict=True):
            (self.kept if self._engine.has_sent(text) else wanted).append(line)
        self.forwarder.send(wanted)

    def finish(self) -> None:
        """Report what is still to be reported once the log has ended."""
        self.forwarder.finish()

    def flush(self) -> None:
        """Forward the kept lines too, because nothing else has logged them."""
        self.forwarder.send(list(self.kept))
        self.forwarder.finish()
        self.kept.clear()


def read_from_ns(shown: Shown) -> int | None:
    """Return from when on to read a log of which only the newest delivered lines are known.

    More lines of the oldest known second may have been delivered than are known, so reading begins
    with the next second. The result is ``None`` if the known lines span so short a time that
    further lines of it may still be on their way.

    >>> stamp = "1970-01-01T00:00:{:02d}.500000+00:00"
    >>> read_from_ns(Shown([f"{stamp.format(second)} - a" for second in (1, 2, 30)]))
    2000000000
    >>> read_from_ns(Shown([f"{stamp.format(1)} - a"]))
    """
    if shown.oldest is None or shown.newest is None:
        return None
    oldest, newest = (
        int(datetime.fromisoformat(stamp).timestamp()) for stamp in (shown.oldest, shown.newest)
    )
    return (oldest + 1) * NS if newest - oldest > _OVERLAP_SECONDS else None
