"""Hand over the lines of a log, each once, and track what is missing and where to resume.

All readers, live or stored, deliver through here. Lines are handed over first and counted
afterwards: nothing that a line contains can end its log, and no line counts as delivered unless
somebody received it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from cpln_flows.logger import Journal
from cpln_flows.logs.cursor import Cursor, Ledger, Look
from cpln_flows.logs.pace import loop_time
from cpln_flows.logs.receipt import Gap, GapKind, Tally
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Batch
from cpln_flows.model.time import NS

OVERLAP_NS = 2 * NS
"""How far before the newest line a reader resumes: lines of one moment may arrive in pieces."""


@dataclass
class Delivery:
    """Take lines from the readers of one log and pass on the new ones.

    Args:
        deliver: Receives each line once, in the order of its stream; late lines come when they
            arrive.
        journal: Where to log for the user.
        since_ns: Start of the wanted lines.
        until_ns: End of the wanted lines, exclusive.
        is_full: Returns, after each line, whether it was the last wanted one.
        wake: Called after lines were delivered.
        cursor: Where an earlier reader has stopped.
    """

    deliver: Callable[[Batch], None]
    journal: Journal
    since_ns: int
    until_ns: int | None = None
    is_full: Callable[[], bool] | None = None
    wake: Callable[[], None] = lambda: None
    cursor: Cursor | None = None
    ledger: Ledger = field(init=False)
    tally: Tally = field(default_factory=Tally)
    last_line: float | None = None
    ended: bool = False
    _arrived: anyio.Event | None = None
    _has_reported: bool = False

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.cursor)
        self.since_ns = max(self.since_ns, self.ledger.since_ns)

    @property
    def floor_ns(self) -> int:
        """The time from which on lines may be missing."""
        return max(self.since_ns, self.ledger.from_ns)

    @property
    def resume_ns(self) -> int:
        """The time from which on a reader reads if older lines are not its concern."""
        return max(self.floor_ns, self.ledger.newest_ns - OVERLAP_NS)

    def take(self, look: Look, batches: Sequence[Batch]) -> None:
        """Pass on the new lines of some batches.

        Args:
            look: What the reader has shown of the log so far.
            batches: Lines, in the order of delivery.
        """
        for batch in batches:
            for part in self._parts(batch):
                if self.ended:
                    return
                new = look.new(part)
                if not new.stamps:
                    continue
                self._hand_over(new)
                self._count(new)
                self.last_line = loop_time()
                self.ended = self.is_full is not None and self.is_full()
        if self._arrived is not None:
            self._arrived.set()
        self.wake()

    async def next_arrival(self, seconds: float) -> None:
        """Wait until a reader has delivered something, for at most this many seconds."""
        self._arrived = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._arrived.wait()

    def note_late(self, batches: Sequence[Batch]) -> None:
        """Declare lines that arrive after the deliveries of their time were forgotten.

        Nobody knows whether such lines are new.
        """
        settled_ns = self.ledger.from_ns
        for _, stamps, _ in batches if settled_ns > self.since_ns else ():
            if min(stamps) < settled_ns and (
                late := [ns for ns in stamps if self.since_ns <= ns < settled_ns]
            ):
                self.tally.miss(Gap(GapKind.LATE, lines=len(late), first_ns=min(late)))

    def _hand_over(self, batch: Batch) -> None:
        """Pass on lines; a receiver that fails for some of them still gets the others."""
        try:
            self.deliver(batch)
        except Exception as error:  # noqa: BLE001 - it would end the reader, or lose the job's result
            self.tally.miss(
                Gap(
                    GapKind.UNSHOWN,
                    lines=len(batch.stamps),
                    first_ns=batch.stamps[0],
                    reason=repr(error),
                )
            )
            if not self._has_reported:
                self._has_reported = True
                self.journal.warning(
                    Area.LOGS, f"Some lines could not be shown (reported once): {error!r}"
                )

    def _count(self, batch: Batch) -> None:
        """Count lines that were passed on; nothing that a job prints may end its log."""
        try:
            self.tally.add(batch)
        except Exception as error:  # noqa: BLE001 - the lines are delivered, only the count is lost
            self.tally.miss(
                Gap(
                    GapKind.UNCOUNTED,
                    lines=len(batch.stamps),
                    first_ns=batch.stamps[0],
                    reason=repr(error),
                )
            )

    def _parts(self, batch: Batch) -> Sequence[Batch]:
        """Return the wanted lines: all at once, or one by one if any of them may be the last."""
        batch = batch.within(self.ledger.since_ns, self.until_ns)
        if self.is_full is None:
            return [batch]
        return [
            Batch(batch.key, [ns], [line])
            for ns, line in zip(batch.stamps, batch.lines, strict=True)
        ]
