"""The logs service: authorization, parameters and range queries. ``tail`` serves tails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cpln_flows.emulator.answers import (
    BAD_REQUEST,
    FORBIDDEN,
    GATEWAY_TIMEOUT,
    Answer,
    Document,
    json_answer,
    refuse,
    text_answer,
)
from cpln_flows.emulator.clock import NANOSECONDS, Clock, datetime_to_ns, to_ns
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.links import org_link
from cpln_flows.emulator.logs import Entry, Logs, Stream
from cpln_flows.emulator.permissions import Principal
from cpln_flows.emulator.resources import Resources
from cpln_flows.emulator.routes.call import Call, read_params
from cpln_flows.emulator.selector import Selector, SelectorError, parse_selector

_HOUR_NS = 3600 * NANOSECONDS
_DAY_NS = 24 * _HOUR_NS
_SECONDS_DIGITS = 10
_DELAY_MAX = 5
_DIGITS = re.compile(r"[0-9]{1,19}")
_DECIMAL = re.compile(r"[0-9]{1,10}\.[0-9]{0,9}")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h|d|w)")
_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": NANOSECONDS, "m": 60 * NANOSECONDS,
    "h": _HOUR_NS, "d": _DAY_NS, "w": 7 * _DAY_NS,
}  # fmt: skip


# As Loki answers.
TIMED_OUT = text_answer(
    "Request timed out, decrease the duration of the request or add more label matchers (prefer"
    " exact match over regex match) to reduce the amount of data processed.",
    GATEWAY_TIMEOUT,
)


class BadLogRequestError(Exception):
    """Loki would not understand the request; the response is plain text, as Loki's is."""


@dataclass(frozen=True, slots=True)
class LogRequest:
    """The parameters of a range query or a tail."""

    selector: Selector
    start_ns: int
    end_ns: int
    limit: int
    forward: bool
    delay_seconds: int


class LogService:
    """The paths of ``/logs/org/O/loki/api/v1``."""

    def __init__(
        self,
        config: PlatformConfig,
        clock: Clock,
        logs: Logs,
        resources: Resources,
    ) -> None:
        self._config = config
        self._clock = clock
        self._logs = logs
        self._resources = resources

    def authorize(self, principal: Principal, org: str) -> None:
        """Refuse principals that may not read the logs of the organization."""
        if principal.is_workload:
            # The token of a container is valid for the API only, whatever its identity may do.
            raise refuse(FORBIDDEN, f'reading logs requires permission "readLogs" in org {org}')
        self._resources.find(principal, org_link(org), "readLogs")

    def range(self, call: Call, org: str) -> Answer:
        """Answer a range query."""
        self.authorize(call.principal, org)
        if call.method not in ("GET", "POST"):
            raise call.not_allowed()
        try:
            request = self.read(_params(call), default_direction="backward")
            self._check_span(request)
        except BadLogRequestError as error:
            return text_answer(str(error), BAD_REQUEST)
        found = self._logs.query(
            request.selector,
            request.start_ns,
            request.end_ns,
            request.limit,
            forward=request.forward,
        )
        result = [stream_document(stream, entries) for stream, entries in found]
        return json_answer(
            {"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}}
        )

    def read(self, params: Mapping[str, str], *, default_direction: str) -> LogRequest:
        """Parse the parameters of a range query or a tail, with Loki's defaults."""
        try:
            selector = parse_selector(params.get("query", ""))
        except SelectorError as error:
            raise BadLogRequestError(str(error)) from error
        now_ns = self._clock.time_ns()
        end_ns = _moment(params.get("end"), "end", now_ns)
        start_default = (
            end_ns - _duration(params["since"])
            if "since" in params
            else min(end_ns, now_ns) - _HOUR_NS
        )
        start_ns = _moment(params.get("start"), "start", start_default)
        direction = params.get("direction", default_direction).lower()
        if direction not in ("forward", "backward"):
            raise BadLogRequestError(f"invalid direction {direction!r}")
        return LogRequest(
            selector=selector,
            start_ns=start_ns,
            end_ns=end_ns,
            limit=self._limit(params.get("limit")),
            forward=direction == "forward",
            delay_seconds=_delay(params.get("delay_for", "0")),
        )

    def _limit(self, text: str | None) -> int:
        if not text:
            return self._config.range_limit_default
        if not _DIGITS.fullmatch(text) or int(text) == 0:
            raise BadLogRequestError("limit must be a positive value")
        most = self._config.range_limit_max
        if int(text) > most:
            raise BadLogRequestError(
                f"max entries limit per query exceeded, limit > max_entries_limit ({text} > {most})"
            )
        return int(text)

    def _check_span(self, request: LogRequest) -> None:
        if request.end_ns < request.start_ns:
            raise BadLogRequestError("end timestamp must not be before or equal to start time")
        if request.end_ns - request.start_ns > self._config.query_span_days * _DAY_NS:
            hours = self._config.query_span_days * 24
            raise BadLogRequestError(
                f"the query time range exceeds the limit (limit: {hours}h0m0s)"
            )


def _params(call: Call) -> dict[str, str]:
    """Return the parameters of a range query; a POST has them in its body, as a form."""
    return (
        {**call.params, **read_params(call.body.decode("utf-8", errors="replace"))}
        if call.body
        else call.params
    )


def stream_document(stream: Stream, entries: list[Entry]) -> Document:
    """Return lines of one stream in Loki's format."""
    return {"stream": stream.labels, "values": [(str(stamp), line) for stamp, line in entries]}


def _moment(text: str | None, name: str, default: int) -> int:
    """Parse a moment: nanoseconds, seconds (few digits, or with a point), or RFC 3339."""
    if not text:
        return default
    try:
        if _DIGITS.fullmatch(text):
            return int(text) if len(text) > _SECONDS_DIGITS else int(text) * NANOSECONDS
        if _DECIMAL.fullmatch(text):
            return to_ns(float(text))
        return datetime_to_ns(datetime.fromisoformat(text))
    except (ValueError, TypeError, OverflowError) as error:
        raise BadLogRequestError(f"could not parse {name!r}: {text!r} is no timestamp") from error


def _duration(text: str) -> int:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadLogRequestError(f"could not parse 'since': {text!r} is no duration")
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _delay(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise BadLogRequestError(f"delay_for: {text!r} is no number")
    if int(text) > _DELAY_MAX:
        raise BadLogRequestError(f"delay_for can't be greater than {_DELAY_MAX}")
    return int(text)
