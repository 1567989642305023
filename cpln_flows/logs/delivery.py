"""Handing the lines of a log over, each once: what was delivered, what is missing, and where a reader would resume.

Whoever reads the log, live or stored, delivers through here. Lines are handed over first and counted then: nothing that a line
holds can end its log, and no line counts as delivered that nobody was given.
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
"""A reader that resumes begins so long before the newest line: lines of one moment do not come in one piece."""


@dataclass
class Delivery:
    """Takes lines from the readers of one log and gives the new ones away.

    Args:
        deliver: Gets each line once, in the order of its stream; what comes late comes when it comes.
        journal: What to tell the user.
        since_ns: No older line is wanted.
        until_ns: No line that is wanted is as new as this.
        is_full: Says after each line whether it was the last one that is wanted.
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
        """From when on lines may be missing that were not delivered."""
        return max(self.since_ns, self.ledger.from_ns)

    @property
    def resume_ns(self) -> int:
        """From when on a reader reads that has nothing to do with older lines."""
        return max(self.floor_ns, self.ledger.newest_ns - OVERLAP_NS)

    def take(self, look: Look, batches: Sequence[Batch]) -> None:
        """Give away those lines of some batches that are new.

        Args:
            look: What the reader has shown of the log so far.
            batches: Lines, in the order in which they are to be delivered.
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
        """Wait until a reader has brought something, but not longer than so many seconds."""
        self._arrived = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._arrived.wait()

    def note_late(self, batches: Sequence[Batch]) -> None:
        """Declare lines that come after what was delivered of their time was forgotten: nobody knows whether they are new."""
        settled_ns = self.ledger.from_ns
        for _, stamps, _ in batches if settled_ns > self.since_ns else ():
            if min(stamps) < settled_ns and (
                late := [ns for ns in stamps if self.since_ns <= ns < settled_ns]
            ):
                self.tally.miss(Gap(GapKind.LATE, lines=len(late), first_ns=min(late)))

    def _hand_over(self, batch: Batch) -> None:
        """Give lines away; whoever cannot take some of them gets the others all the same."""
        try:
            self.deliver(batch)
        except Exception as error:  # noqa: BLE001 - the reader would end with it, or the job's result be lost
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
        """Count lines that were given away; nothing that a job prints may end its log."""
        try:
            self.tally.add(batch)
        except Exception as error:  # noqa: BLE001 - the lines are delivered, only their count is not known
            self.tally.miss(
                Gap(
                    GapKind.UNCOUNTED,
                    lines=len(batch.stamps),
                    first_ns=batch.stamps[0],
                    reason=repr(error),
                )
            )

    def _parts(self, batch: Batch) -> Sequence[Batch]:
        """Return the lines that are wanted: at once, or one by one if any of them may be the last."""
        batch = batch.within(self.ledger.since_ns, self.until_ns)
        if self.is_full is None:
            return [batch]
        return [
            Batch(batch.key, [ns], [line])
            for ns, line in zip(batch.stamps, batch.lines, strict=True)
        ]
