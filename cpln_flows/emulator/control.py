"""The control routes below ``/_control/``.

A test in another process uses them, with the platform's own token, to manipulate the platform.

They offer what the attributes of ``Platform`` offer in process: faults, clock, recorded requests,
switches, log lines, and what runs.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cpln_flows.emulator.answers import (
    BAD_REQUEST,
    CREATED,
    FORBIDDEN,
    NOT_FOUND,
    Answer,
    Document,
    RefusedError,
    json_answer,
    refuse,
)
from cpln_flows.emulator.clock import (
    Clock,
    ManualClock,
    TooManyTimersError,
    datetime_to_ns,
    iso,
    to_ns,
)
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.faults import Fault, Faults
from cpln_flows.emulator.logs import Entry, Logs
from cpln_flows.emulator.overview import RunningReplica
from cpln_flows.emulator.recorder import Recorder
from cpln_flows.emulator.routes.call import Call
from cpln_flows.emulator.typed import fits

PREFIX = "/_control/"
_ADVANCE_MAX = 1e9
_STAMP = re.compile(r"[0-9]{1,19}")
_STAMP_MAX = 2**63 - 1
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")
_LAST_NS = datetime_to_ns(datetime(9000, 1, 1, tzinfo=UTC))
_TIMERS_MAX = 10_000
# Loki's own limits.
LABEL_LIMIT, LABEL_VALUE_LIMIT, LINE_LIMIT = 30, 2048, 256 * 1024


class Control:
    """The control routes."""

    def __init__(
        self,
        *,
        config: PlatformConfig,
        clock: Clock,
        faults: Faults,
        recorder: Recorder,
        logs: Logs,
        running: Callable[[], Sequence[RunningReplica]],
    ) -> None:
        self._config = config
        self._clock = clock
        self._faults = faults
        self._recorder = recorder
        self._logs = logs
        self._running = running
        self._routes: dict[str, Callable[[Call], Answer]] = {
            "faults": self._answer_faults,
            "clock": self._answer_clock,
            "requests": self._answer_requests,
            "config": self._answer_config,
            "lines": self._answer_lines,
            "replicas": self._answer_replicas,
        }

    def answer(self, call: Call) -> Answer:
        """Answer a control request."""
        route = self._routes.get(call.path.removeprefix(PREFIX))
        try:
            if not call.principal.is_operator:
                raise refuse(FORBIDDEN, "only the platform's own token opens its control routes")
            if route is None:
                raise refuse(
                    NOT_FOUND,
                    f"control routes are {', '.join(PREFIX + name for name in self._routes)}",
                )
            return route(call)
        except RefusedError as refusal:
            return refusal.answer()

    def _answer_faults(self, call: Call) -> Answer:
        if call.method == "POST":
            return json_answer(
                {"id": self._faults.add(Fault.from_document(call.document()))}, CREATED
            )
        if call.method == "DELETE":
            self._faults.clear()
        elif call.method != "GET":
            raise call.not_allowed()
        return json_answer({"faults": self._faults.as_documents()})

    def _answer_clock(self, call: Call) -> Answer:
        if call.method == "POST":
            seconds = call.document().get("advance_seconds")
            if not isinstance(self._clock, ManualClock):
                raise refuse(BAD_REQUEST, "the platform runs on real time, which cannot be moved")
            if (
                isinstance(seconds, bool)
                or not isinstance(seconds, int | float)
                or not 0 <= seconds <= _ADVANCE_MAX
            ):
                raise refuse(
                    BAD_REQUEST, f'"advance_seconds" must be a number from 0 to {_ADVANCE_MAX:.0f}'
                )
            self._advance(self._clock, seconds)
        elif call.method != "GET":
            raise call.not_allowed()
        return json_answer(
            {"now": iso(self._clock.time_ns()), "time_ns": str(self._clock.time_ns())}
        )

    def _advance(self, clock: ManualClock, seconds: float) -> None:
        if clock.time_ns() + to_ns(seconds) > _LAST_NS:
            raise refuse(BAD_REQUEST, f"the clock cannot be moved beyond {iso(_LAST_NS)}")
        try:
            clock.advance(seconds, most=_TIMERS_MAX)
        except TooManyTimersError as error:
            raise refuse(
                BAD_REQUEST, f"{error}, where the clock stands now: move it in smaller steps"
            ) from error

    def _answer_requests(self, call: Call) -> Answer:
        if call.method == "DELETE":
            self._recorder.clear()
        elif call.method != "GET":
            raise call.not_allowed()
        requests = [dataclasses.asdict(record) for record in self._recorder.requests]
        return json_answer({"requests": requests, "connections": self._recorder.connections})

    def _answer_config(self, call: Call) -> Answer:
        if call.method == "PATCH":
            switch(self._config, call.document())
        elif call.method != "GET":
            raise call.not_allowed()
        shown = dataclasses.asdict(self._config)
        del shown["token"]
        if self._config.tokens is not None:
            shown["tokens"] = sorted(self._config.tokens.values())
        return json_answer(shown)

    def _answer_replicas(self, call: Call) -> Answer:
        if call.method != "GET":
            raise call.not_allowed()
        replicas = [dataclasses.asdict(each) for each in self._running()]
        for each in replicas:
            each["ports"] = {str(declared): port for declared, port in each["ports"].items()}
        return json_answer({"replicas": replicas})

    def _answer_lines(self, call: Call) -> Answer:
        if call.method != "POST":
            raise call.not_allowed()
        content = call.document()
        labels, entries = _read_labels(content.get("labels")), _read_entries(content.get("entries"))
        if entries:
            self._logs.append(self._logs.stream(labels), entries)
        return json_answer({"lines": len(entries)}, CREATED)


def switch(config: PlatformConfig, changes: Document) -> None:
    """Change a platform's own copy of its configuration, which all of its parts share.

    For its readers the configuration is frozen; this is the only place that may change it.
    """
    hints = typing.get_type_hints(PlatformConfig)
    # Once the organization exists, it sets how long its logs are kept.
    fixed = ("org", "gvc", "locations", "token", "tokens", "hosts", "seed", "log_retention_days")
    for name, value in changes.items():
        if name not in hints or name in fixed:
            raise refuse(BAD_REQUEST, f"{name!r} cannot be switched")
        if not fits(value, hints[name]):
            raise refuse(BAD_REQUEST, f"{value!r} is not a valid value for {name!r}")
    try:
        dataclasses.replace(config, **changes)
    except ValueError as error:
        raise refuse(BAD_REQUEST, str(error)) from error
    for name, value in changes.items():
        object.__setattr__(config, name, value)


def _read_labels(labels: object) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise refuse(BAD_REQUEST, '"labels" must be an object of strings')
    if len(labels) > LABEL_LIMIT:
        raise refuse(BAD_REQUEST, f'"labels" must have less than or equal to {LABEL_LIMIT} keys')
    for name, value in labels.items():
        if not _LABEL.fullmatch(name) or len(value) > LABEL_VALUE_LIMIT:
            raise refuse(
                BAD_REQUEST,
                f'"labels" has an invalid name, or a value longer than {LABEL_VALUE_LIMIT}:'
                f" {name[:100]!r}",
            )
    return labels


def _read_entries(entries: object) -> list[Entry]:
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise refuse(BAD_REQUEST, '"entries" must be an array')
    return [_read_entry(entry, f"entries[{index}]") for index, entry in enumerate(entries)]


def _read_entry(entry: object, path: str) -> Entry:
    match entry:
        case [str() | int() as stamp, str() as line] if not isinstance(
            stamp, bool
        ) and _STAMP.fullmatch(str(stamp)):
            if int(stamp) <= _STAMP_MAX and len(line) <= LINE_LIMIT:
                return int(stamp), line
    raise refuse(
        BAD_REQUEST,
        f'"{path}" must be a time in nanoseconds, up to {_STAMP_MAX},'
        f" and a line of at most {LINE_LIMIT}",
    )
