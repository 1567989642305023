"""A logs service in virtual time that does what a schedule says: every line, when it arrives, and what befalls each message."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

import anyio

from cpln_flows.api.logs import Arrival, Page
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import LogStreamError, TransportError
from cpln_flows.model.cursor import in_order
from cpln_flows.model.log_lines import Batch, Frame, StreamKey

EPOCH_NS = 1_768_039_212_000_000_000
SESSION_SECONDS = 1800.0


class Printed(NamedTuple):
    """A line: when it was printed, what it says, and when the service gets it."""

    ns: int
    key: StreamKey
    text: str
    arrives: float


class Fate(StrEnum):
    """What befalls a message of the live log."""

    PASS = "pass"
    REPEAT = "repeat"
    DROP = "drop"
    DROP_FIRST = "drop-first"
    CUT_BEFORE = "cut-before"
    CUT_AFTER = "cut-after"
    GARBLE = "garble"
    DEAF = "deaf"
    REFUSE = "refuse"
    SILENT = "silent"


@dataclass
class Service:
    """Holds the lines; is a source of them as the real one is.

    Args:
        lines: What is printed.
        fates: What befalls the messages, one after another; later ones pass.
        failing: Which of the first range queries fail; one that is repeated succeeds.
        limit: Lines of a range query, and of the past that a tail shows.
        frame_lines: Lines of a message.

    The pages of one range query show one moment. On the platform a line can come in while they are read, and then be behind
    newer ones of its stream if other streams are ahead of it.
    """

    lines: Sequence[Printed]
    fates: list[Fate] = field(default_factory=list)
    failing: list[bool] = field(default_factory=list)
    limit: int = 3
    frame_lines: int = 2

    def __post_init__(self) -> None:
        self._by_arrival = sorted(self.lines, key=lambda line: line.arrives)

    def now_ns(self) -> int:
        return EPOCH_NS + int(anyio.current_time() * 1e9)

    def fate(self) -> Fate:
        return self.fates.pop(0) if self.fates else Fate.PASS

    @asynccontextmanager
    async def open_tail(self, start_ns: int) -> AsyncIterator[_Tail]:
        if self.fates and self.fates[0] is Fate.REFUSE:
            self.fates.pop(0)
            raise LogStreamError("refused")
        await anyio.sleep(0.01)
        yield _Tail(self, self._by_arrival, start_ns)

    async def query_range(self, start_ns: int, end_ns: int, repeat: Repeat = Repeat.ALWAYS) -> AsyncIterator[Page]:
        await anyio.sleep(0.01)
        while True:
            if self.failing and self.failing.pop(0) and repeat is Repeat.NEVER:
                raise TransportError("no answer")
            found = [line for line in self.stored() if start_ns <= line.ns < end_ns]
            of_one_time = [line for line in found if line.ns == start_ns]
            page = found[: max(self.limit, len(of_one_time) + 1 if len(of_one_time) >= self.limit else 0)]
            yield Page(in_order(batches(page)))
            if len(page) == len(found):
                return
            start_ns = page[-1].ns

    def stored(self) -> list[Printed]:
        now, found = anyio.current_time(), []
        for line in self._by_arrival:
            if line.arrives <= now:
                insort(found, line, key=lambda each: each.ns)
        return found


class _Tail:
    def __init__(self, service: Service, by_arrival: list[Printed], start_ns: int) -> None:
        now = anyio.current_time()
        past = [line for line in service.stored() if line.ns >= start_ns]
        self._service = service
        self._waiting = [*past[-service.limit :]]
        self._coming = [line for line in by_arrival if line.arrives > now]
        self._ends = now + SESSION_SECONDS
        self._again: Arrival | None = None
        self._dropped: list[int] = []
        self._is_cut = self._is_deaf = False

    async def receive(self, seconds: float) -> Arrival | None:
        until = anyio.current_time() + seconds
        if seconds <= 0:
            raise TimeoutError
        while True:
            if self._is_cut or anyio.current_time() >= self._ends:
                return None
            arrival, self._again = self._again, None
            arrival = arrival or self._next()
            if arrival is not None:
                return arrival
            if self._is_cut:
                return None
            due = min(self._ends, math.inf if self._is_deaf or not self._coming else self._coming[0].arrives)
            await anyio.sleep_until(min(due, until))
            if due > until:
                raise TimeoutError

    def _next(self) -> Arrival | None:
        now = anyio.current_time()
        while self._coming and self._coming[0].arrives <= now:
            self._waiting.append(self._coming.pop(0))
        if self._is_deaf or not (self._waiting or self._dropped):
            return None
        lines, self._waiting = self._waiting[: self._service.frame_lines], self._waiting[self._service.frame_lines :]
        return self._meet(self._service.fate(), lines)

    def _meet(self, fate: Fate, lines: list[Printed]) -> Arrival | None:
        self._is_cut = fate in (Fate.CUT_BEFORE, Fate.CUT_AFTER)
        self._is_deaf = fate is Fate.DEAF
        if fate in (Fate.CUT_BEFORE, Fate.DEAF):
            return None
        if fate is Fate.SILENT:
            return self._next()
        if fate is Fate.GARBLE:
            return Arrival(hash(object()), None)
        lost = {Fate.DROP: len(lines), Fate.DROP_FIRST: 1}.get(fate, 0)
        dropped = [line.ns for line in lines[:lost]]
        frame = Frame(batches(lines[lost:]), dropped)
        arrival = Arrival(hash(repr(frame)), frame)
        if fate is Fate.REPEAT:
            self._again = arrival
        return arrival


def batches(lines: Sequence[Printed]) -> list[Batch]:
    """The lines of each stream, in the order in which they are given."""
    keyed = sorted(lines, key=lambda line: line.key)
    groups = [(key, list(group)) for key, group in groupby(keyed, key=lambda line: line.key)]
    return [Batch(key, [line.ns for line in group], [line.text for line in group]) for key, group in groups]
