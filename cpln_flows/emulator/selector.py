"""Parse and match log selectors such as ``{gvc="dev"} |= "text"``, as Grafana Loki does. Pure.

Matchers are ``= != =~ !~``, with regular expressions that have to match the whole value, as in
``replica=~"command-.+"``. An absent label counts as empty, and at least one matcher has to require
a value that is not empty. Line filters are ``|= != |~ !~``, and match anywhere. Pipelines that
parse or format lines are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cpln_flows.emulator.pattern import Pattern, PatternError

TEXT_LIMIT = 16 * 1024
CONDITION_LIMIT = 100
_LABEL = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`')
_FILTER = re.compile(r"\s*(\|=|\|~|!=|!~)\s*")
_SPACE = re.compile(r"\s*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)")
_LAST_CHARACTER, _LAST_BYTE, _SURROGATES = 0x10FFFF, 0xFF, range(0xD800, 0xE000)
_SPECIAL = frozenset(r"\.+*?()|[]{}^$")
_NOTHING_NEEDED = (
    "queries require at least one regexp or equality matcher"
    " that does not have an empty-compatible value"
)


class SelectorError(ValueError):
    """The string is not a selector, or not a supported one."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label."""

    label: str
    op: str
    value: str
    pattern: Pattern | None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the label of a stream satisfies the condition."""
        found = labels.get(self.label, "")
        if self.pattern is None:
            return (found == self.value) is (self.op == "=")
        return self.pattern.fits(found) is (self.op == "=~")

    @property
    def allows_empty(self) -> bool:
        """Whether a stream without the label matches."""
        return self.matches({})

    @property
    def literal_prefix(self) -> str:
        """The prefix of every matching value."""
        if self.op == "=":
            return self.value
        return _literal_prefix(self.value) if self.op == "=~" else ""


@dataclass(frozen=True, slots=True)
class LineFilter:
    """A condition on the contents of a line."""

    op: str
    value: str
    pattern: Pattern | None

    def matches(self, line: str) -> bool:
        """Return whether a line passes."""
        if self.pattern is None:
            return (self.value in line) is (self.op == "|=")
        return self.pattern.found_in(line) is (self.op == "|~")


@dataclass(frozen=True, slots=True)
class Selector:
    """A whole selector."""

    matchers: tuple[Matcher, ...]
    filters: tuple[LineFilter, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether a stream belongs to the result."""
        return all(matcher.matches(labels) for matcher in self.matchers)

    def passes(self, line: str) -> bool:
        """Return whether a line of a matching stream belongs to the result."""
        return all(each.matches(line) for each in self.filters)


def parse_selector(text: str) -> Selector:
    """Parse a selector."""
    if len(text) > TEXT_LIMIT:
        raise SelectorError(f"parse error: input size too long ({len(text)} > {TEXT_LIMIT})")
    matchers, place = _parse_matchers(text)
    filters: list[LineFilter] = []
    while place < len(text):
        found = _FILTER.match(text, place)
        if found is None:
            raise _error(text, place, f"unexpected {text[place:].strip()[:20]!r}")
        value, place = _string(text, found.end())
        op = found.group(1)
        filters.append(LineFilter(op, value, _compile(value) if op.endswith("~") else None))
        place = _skip(text, place)
    if len(matchers) + len(filters) > CONDITION_LIMIT:
        raise SelectorError(
            f"parse error: more than {CONDITION_LIMIT} label matchers and line filters"
        )
    if all(matcher.allows_empty for matcher in matchers):
        raise SelectorError(_NOTHING_NEEDED)
    return Selector(tuple(matchers), tuple(filters))


def _parse_matchers(text: str) -> tuple[list[Matcher], int]:
    place = _skip(text, 0)
    place = _expect(text, place, "{")
    matchers: list[Matcher] = []
    while True:
        place = _skip(text, place)
        if text[place : place + 1] == "}":
            return matchers, _skip(text, place + 1)
        if matchers:
            place = _expect(text, place, ",")
            if text[_skip(text, place) : _skip(text, place) + 1] == "}":
                continue
        found = _LABEL.match(text, place)
        if found is None:
            raise _error(text, place, "expected a label and one of = != =~ !~")
        value, place = _string(text, found.end())
        label, op = found.groups()
        matchers.append(Matcher(label, op, value, _compile(value) if op.endswith("~") else None))


def _expect(text: str, place: int, wanted: str) -> int:
    if text[place : place + 1] != wanted:
        raise _error(text, place, f"expected {wanted!r}")
    return place + 1


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()


def _string(text: str, place: int) -> tuple[str, int]:
    found = _STRING.match(text, place)
    if found is None:
        raise _error(text, place, "expected a quoted string")
    quoted, raw = found.groups()
    return (raw if quoted is None else _ESCAPE.sub(_unescape, quoted)), found.end()


def _unescape(found: re.Match[str]) -> str:
    escape = found.group(1)
    if escape[0] in "xuU" and len(escape) > 1:
        return _character(int(escape[1:], 16), _LAST_CHARACTER)
    if escape.isdigit():
        return _character(int(escape, 8), _LAST_BYTE)
    return _ESCAPES.get(escape, escape)


def _character(number: int, last: int) -> str:
    if number > last or number in _SURROGATES:
        raise SelectorError("parse error: invalid char escape")
    return chr(number)


def _compile(pattern: str) -> Pattern:
    try:
        return Pattern(pattern)
    except PatternError as error:
        raise SelectorError(f"error parsing regexp: {error}") from error


def _error(text: str, place: int, message: str) -> SelectorError:
    return SelectorError(
        f"parse error at line 1, col {min(place, len(text)) + 1}: syntax error: {message}"
    )


def _literal_prefix(pattern: str) -> str:
    if "|" in pattern:
        return ""
    length = next((index for index, char in enumerate(pattern) if char in _SPECIAL), len(pattern))
    repeated = pattern[length : length + 1] in ("?", "*", "{") and length > 0
    return pattern[: length - 1] if repeated else pattern[:length]


Predicate = Callable[[str], bool]


def line_predicate(selector: Selector) -> Predicate | None:
    """Return the line filters as one function; ``None`` if every line passes."""
    return selector.passes if selector.filters else None
