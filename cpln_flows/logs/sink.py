"""Where the lines of a job go: which of them, as what text, and into what."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from cpln_flows.model import log_lines
from cpln_flows.model.log_lines import Batch


class Sink(Protocol):
    """What takes lines of text: a function of the user's (``printer``), or the log of a run (``forwarder``)."""

    def send(self, lines: Sequence[str]) -> None:
        """Take lines, in order."""

    def finish(self) -> None:
        """Learn that the log has ended, and say what is still to be said."""


@dataclass(frozen=True)
class Rendering:
    """Which lines of a job are shown, and as what text.

    Attributes:
        containers: Of these containers; without, of all.
        has_labels: Whether a line says which container it comes from.
        passes: Whether a line is wanted; without, each one is.

    Example:
        >>> from cpln_flows.model.log_lines import Batch, StreamKey
        >>> batch = Batch(StreamKey("replica", "main", "stdout"), [0], ["hello"])
        >>> Rendering.of(["main"]).lines(batch), Rendering.of(["main", "proxy"]).lines(batch)
        (['1970-01-01T00:00:00.000000+00:00 - hello'], ['1970-01-01T00:00:00.000000+00:00 - [main] hello'])
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
        """Return the lines of a batch that are shown, as text."""
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
