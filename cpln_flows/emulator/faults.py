"""Faults on demand: what goes wrong with which requests, and how often.

This module only selects the faults; ``http_app`` and ``tail`` apply them.
"""

from __future__ import annotations

import dataclasses
import random
import threading
import typing
import uuid
from dataclasses import dataclass, field
from typing import Literal

from cpln_flows.emulator.answers import BAD_REQUEST, Document, refuse
from cpln_flows.emulator.pattern import Pattern, PatternError
from cpln_flows.emulator.typed import fits

When = Literal["before", "after"]

FAULT_LIMIT = 1000
HEADER_LIMIT = 1000
_COUNT_MAX = 10**9
_BOUNDS = (
    ("times", 0, _COUNT_MAX),
    ("skip", 0, _COUNT_MAX),
    ("probability", 0, 1),
    ("status", 200, 599),
    ("delay_seconds", 0, _COUNT_MAX),
    ("cut_after_frames", 0, _COUNT_MAX),
    ("cut_after_lines", 0, _COUNT_MAX),
    ("drop_lines", 0, _COUNT_MAX),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        method: The method that it concerns; ``None`` for all. A tail is a GET.
        path: A regular expression (RE2) that is searched for in the path; ``None`` for all. Control
            routes are never affected.
        times: How often it happens; ``None`` for no limit.
        skip: How many matching requests pass unharmed first.
        probability: The probability for each matching request, by the platform's seed.
        status: Respond with this status and an error body.
        message: Message of that error.
        retry_after: Value of ``Retry-After``, in seconds or as a string.
        effect: Whether a request that is answered with ``status`` or ``body`` takes effect
            nevertheless: ``after`` is a lost response.
        delay_seconds: Wait before anything else happens.
        reset: Abort the connection without a response, before or after the request takes effect.
        timeout: Never respond, before or after the request takes effect.
        lose_answer: The same as ``reset="after"``.
        truncate: Send half of the response: ``length`` announces the whole and then closes the
            connection; ``body`` ends properly.
        body: Respond with this body instead.
        content_type: Content type of that body.
        stale: Repeat the previous response to the same GET or query, if there is one.
        cut_after_frames: Cut a tail after this many frames.
        cut_after_lines: Cut a tail after this many lines.
        drop_lines: Omit this many lines from a tail and announce them as dropped.
        drop_silently: Do not announce them.
    """

    method: str | None = None
    path: str | None = None
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    status: int | None = None
    message: str = "injected fault"
    retry_after: float | str | None = None
    effect: When = "before"
    delay_seconds: float = 0.0
    reset: When | None = None
    timeout: When | None = None
    lose_answer: bool = False
    truncate: Literal["length", "body"] | None = None
    body: str | None = None
    content_type: str = "text/html; charset=utf-8"
    stale: bool = False
    cut_after_frames: int | None = None
    cut_after_lines: int | None = None
    drop_lines: int = 0
    drop_silently: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if isinstance(value, int | float) and not low <= value <= high:
                raise ValueError(f"{name!r} must be from {low} to {high}, not {value}")
        for name in ("content_type", "retry_after"):
            text = str(getattr(self, name))
            if not (text.isascii() and text.isprintable() and len(text) <= HEADER_LIMIT):
                raise ValueError(f"{name!r} is not a valid header value")

    @property
    def reset_when(self) -> When | None:
        """When the connection is aborted; ``None`` if it is not."""
        return "after" if self.lose_answer else self.reset

    @classmethod
    def from_document(cls, content: Document) -> Fault:
        """Read a fault from JSON."""
        known = {each.name for each in dataclasses.fields(cls)}
        unknown = sorted(set(content) - known)
        if unknown:
            raise refuse(
                BAD_REQUEST,
                f"a fault has no field {', '.join(unknown)}; known are {', '.join(sorted(known))}",
            )
        if content.get("truncate") is True:
            content = {**content, "truncate": "length"}
        hints = typing.get_type_hints(cls)
        for name, value in content.items():
            if not fits(value, hints[name]):
                raise refuse(BAD_REQUEST, f"{value!r} is not a valid value for {name!r}")
        try:
            return cls(**content)
        except ValueError as error:
            raise refuse(BAD_REQUEST, str(error)) from error


@dataclass(slots=True)
class _Armed:
    """A fault and how often it has matched a request."""

    id: str
    fault: Fault
    pattern: Pattern | None
    seen: int = 0
    fired: int = 0

    def meets(self, method: str, path: str, chance: random.Random) -> bool:
        fault = self.fault
        if fault.times is not None and self.fired >= fault.times:
            return False
        if fault.method is not None and fault.method.upper() != method:
            return False
        if self.pattern is not None and not self.pattern.found_in(path):
            return False
        self.seen += 1
        if self.seen <= fault.skip or chance.random() >= fault.probability:
            return False
        self.fired += 1
        return True


@dataclass(slots=True)
class Faults:
    """The armed faults; the first that matches a request happens."""

    seed: int | None = None
    _armed: list[_Armed] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the random numbers."""
        self._random = random.Random(self.seed)  # noqa: S311 - not a secret

    def add(self, fault: Fault) -> str:
        """Arm a fault and return its id."""
        try:
            pattern = None if fault.path is None else Pattern(fault.path)
        except PatternError as error:
            raise refuse(
                BAD_REQUEST, f"path {fault.path!r} is not a regular expression: {error}"
            ) from error
        if len(self._armed) >= FAULT_LIMIT:
            raise refuse(
                BAD_REQUEST, f"at most {FAULT_LIMIT} faults can be armed; DELETE clears them"
            )
        armed = _Armed(str(uuid.uuid4()), fault, pattern)
        with self._lock:
            self._armed.append(armed)
        return armed.id

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._armed.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that happens to a request, if any."""
        if not self._armed:
            return None
        with self._lock:
            return next(
                (each.fault for each in self._armed if each.meets(method, path, self._random)), None
            )

    def as_documents(self) -> list[Document]:
        """List the faults and how often they have happened."""
        return [
            {
                "id": each.id,
                "seen": each.seen,
                "fired": each.fired,
                **dataclasses.asdict(each.fault),
            }
            for each in list(self._armed)
        ]
