"""Where the lines of a job go: which lines are shown, in which form, and to which receiver."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from cpln_flows.model import log_lines
from cpln_flows.model.log_lines import Batch


class Sink(Protocol):
    """A receiver of lines: a function of the user (``printer``) or a run's log (``forwarder``)."""

    def send(self, lines: Sequence[str]) -> None:
        """Take lines, in order."""

    def finish(self) -> None:
        """Accept the end of the log, and send what remains."""


@dataclass(frozen=True)
class Rendering:
    """Which lines of a job are shown, and as what text.

    Attributes:
        containers: Names of the containers whose lines are shown. Default: all.
        has_labels: Whether a line names the container that it comes from.
        passes: Returns whether a line is wanted. Default: every line is.

    Example:
        >>> from cpln_flows.model.log_lines import Batch, StreamKey
        >>> batch = Batch(StreamKey("replica", "main", "stdout"), [0], ["hello"])
        >>> Rendering.of(["main"]).lines(batch)
        ['1970-01-01T00:00:00.000000+00:00 - hello']
        >>> Rendering.of(["main", "proxy"]).lines(batch)
        ['1970-01-01T00:00:00.000000+00:00 - [main] hello']
    """

    containers: Collection[str] | None = None
    has_labels: bool = False
    passes: Callable[[str], bool] | None = None

    @classmethod
    def of(
        cls, containers: Collection[str] | None, passes: Callable[[str], bool] | None = None
    ) -> Rendering:
        """Return the rendering of some containers, with labels unless there is only one."""
        return cls(containers, containers is None or len(containers) != 1, passes)

    def lines(self, batch: Batch) -> list[str]:
        """Return the shown lines of a batch as text."""
        container = batch.key.container
        if self.containers is not None and container not in self.containers:
            return []
        if self.passes is not None:
            kept = [index for index, line in enumerate(batch.lines) if self.passes(line)]
            batch = Batch(
                batch.key,
                [batch.stamps[index] for index in kept],
                [batch.lines[index] for index in kept],
            )
        return log_lines.render(batch, f"[{container}] " if self.has_labels else "")
