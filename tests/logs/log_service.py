"""A logs service in virtual time that follows a schedule.

The schedule has every line, when it arrives, and what happens to each message.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from types import SimpleNamespace
from typing import Any, NamedTuple

import anyio

from cpln_flows.api.logs import Arrival, LogSource, Page
from cpln_flows.api.retry import Repeat, retrying
from cpln_flows.errors import LogStreamError, TransportError
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


class Answer(StrEnum):
    """What a range query gets."""

    RIGHT = "right"
    NONE = "none"
    OF_ANOTHER_FORM = "of-another-form"


@dataclass
class Room:
    """How many live logs may be open at a time; a further one is closed at once, or refused."""

    most: float = math.inf
    refuses: bool = False
    taken: int = 0
    reported: set[str] = field(default_factory=set)


@dataclass
class Service:
    """Holds the lines and serves them as the real service does, which pages through a range query.

    Args:
        lines: What is printed.
        fates: What befalls the messages, one after another; later ones pass.
        answers: What the first requests of range queries get; later ones are answered right.
        limit: Lines of the past that a tail shows.
        frame_lines: Lines of a message.

    The pages of one range query show one moment. On the platform a line can arrive while they are
    read, and then be behind newer ones of its stream if other streams are ahead of it.
    """

    lines: Sequence[Printed]
    fates: list[Fate] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    limit: int = 3
    frame_lines: int = 2
    room: Room = field(default_factory=Room)

    def __post_init__(self) -> None:
        self._by_arrival = sorted(self.lines, key=lambda line: line.arrives)
        client: Any = SimpleNamespace(get_logs=self._get_logs)
        self._source = LogSource(client, "org", "{}")

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
        is_full = self.room.taken >= self.room.most
        if is_full and self.room.refuses:
            raise LogStreamError("429 too many live logs")
        tail = _Tail(self, self._by_arrival, start_ns, is_cut=is_full)
        self.room.taken += not is_full
        try:
            yield tail
        finally:
            self.room.taken -= not is_full

    def report_once(self, what: str) -> bool:
        is_new = what not in self.room.reported
        self.room.reported.add(what)
        return is_new

    async def query_range(
        self, start_ns: int, end_ns: int, repeat: Repeat = Repeat.ALWAYS
    ) -> AsyncIterator[Page]:
        await anyio.sleep(0.01)
        async for page in self._source.query_range(start_ns, end_ns, repeat):
            yield page

    async def _get_logs(
        self, _path: str, *, params: dict[str, str], parse: Callable[[Any], Any], repeat: Repeat
    ) -> Any:
        async for attempt in retrying(
            repeat, budget_seconds=60, sleep=anyio.sleep
        ):  # as the client does
            with attempt:
                return parse(self._answer(params))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _answer(self, params: dict[str, str]) -> dict[str, Any]:
        answer = self.answers.pop(0) if self.answers else Answer.RIGHT
        if answer is Answer.NONE:
            raise TransportError("no answer")
        if answer is Answer.OF_ANOTHER_FORM:
            return {}
        start_ns, end_ns, limit = (int(params[name]) for name in ("start", "end", "limit"))
        found = [line for line in self.stored() if start_ns <= line.ns < end_ns]
        page = found[:limit] if params["direction"] == "forward" else found[-limit:][::-1]
        return {"data": {"result": [_as_answered(batch) for batch in batches(page)]}}

    def stored(self) -> list[Printed]:
        now, found = anyio.current_time(), []
        for line in self._by_arrival:
            if line.arrives <= now:
                insort(found, line, key=lambda each: each.ns)
        return found


class _Tail:
    closed = "1011 too many"

    def __init__(
        self, service: Service, by_arrival: list[Printed], start_ns: int, *, is_cut: bool = False
    ) -> None:
        now = anyio.current_time()
        past = [line for line in service.stored() if line.ns >= start_ns]
        self._service = service
        self._waiting = [*past[-service.limit :]]
        self._coming = [line for line in by_arrival if line.arrives > now]
        self._ends = now + SESSION_SECONDS
        self._again: Arrival | None = None
        self._dropped: list[int] = []
        self._is_cut, self._is_deaf = is_cut, False

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
            due = min(
                self._ends,
                math.inf if self._is_deaf or not self._coming else self._coming[0].arrives,
            )
            await anyio.sleep_until(min(due, until))
            if due > until:
                raise TimeoutError

    def _next(self) -> Arrival | None:
        now = anyio.current_time()
        while self._coming and self._coming[0].arrives <= now:
            self._waiting.append(self._coming.pop(0))
        if self._is_deaf or not (self._waiting or self._dropped):
            return None
        lines, self._waiting = (
            self._waiting[: self._service.frame_lines],
            self._waiting[self._service.frame_lines :],
        )
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


def _as_answered(batch: Batch) -> dict[str, Any]:
    values = [[str(ns), line] for ns, line in zip(batch.stamps, batch.lines, strict=True)]
    return {"stream": batch.key._asdict(), "values": values}


def batches(lines: Sequence[Printed]) -> list[Batch]:
    """The lines of each stream, in the order in which they are given."""
    keyed = sorted(lines, key=lambda line: line.key)
    groups = [(key, list(group)) for key, group in groupby(keyed, key=lambda line: line.key)]
    return [
        Batch(key, [line.ns for line in group], [line.text for line in group])
        for key, group in groups
    ]
