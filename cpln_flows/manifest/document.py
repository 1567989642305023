"""Read an untrusted document field by field, and collect its faults with their paths.

Once a document is read, the fields that no code asked for turn out to be unknown ones.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cpln_flows.errors import Fault
from cpln_flows.model import suggestions
from cpln_flows.model.display import holds_placeholder, shown

_INDEX = re.compile(r"\[\d+\]")
_MOST_SUGGESTIONS = 20
_MOST_PLACES = 3
_UNKNOWN = "is not supported on Control Plane; remove it"
_KINDS: Mapping[type, str] = {
    str: "a string",
    int: "an integer",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
}

_MAY_BE_SECRET = frozenset(
    {
        "annotations",
        "args",
        "command",
        "data",
        "env",
        "exec",
        "httpHeaders",
        "labels",
        "tags",
        "value",
    }
)
_PARTS = re.compile(r"[.\[]")


@dataclass
class _Document:
    """State that all readers of one document share.

    Once everything is read, it shows which field belongs where.
    """

    notes: list[Fault] = field(default_factory=list)
    levels: dict[str, Reader] = field(default_factory=dict)
    unknown: list[tuple[int, Reader, str]] = field(default_factory=list)


class Reader:
    """One object of a document. Null counts as absent, as in Kubernetes."""

    def __init__(
        self,
        value: Mapping[str, Any],
        path: str,
        faults: list[Fault],
        *,
        parent: Reader | None = None,
        is_pair: bool = False,
    ) -> None:
        self.path = path
        self._is_pair = is_pair
        self._faults = faults
        self._value = value
        self._read: set[str] = set()
        self._refused: set[str] = set()
        self._parent = parent
        self._document: _Document = parent._document if parent is not None else _Document()  # noqa: SLF001 - of its own kind
        self._document.levels.setdefault(self._level, self)

    @property
    def faults(self) -> list[Fault]:
        """The faults of the whole document so far, with suggestions for unknown fields."""
        for index, reader, key in self._document.unknown[:_MOST_SUGGESTIONS]:
            self._faults[index] = Fault(reader.at(key), reader._meant(key) or _UNKNOWN)  # noqa: SLF001 - of its own kind
        self._document.unknown.clear()
        return self._faults

    @property
    def has_faults(self) -> bool:
        """Whether anything is wrong with the document so far."""
        return bool(self._faults)

    @property
    def keys(self) -> list[str]:
        """The names of the fields that are present."""
        return list(self._value)

    @property
    def notes(self) -> list[Fault]:
        """What has no effect or was filled in, in the whole document so far."""
        return self._document.notes

    def note(self, key: str, message: str) -> None:
        """Note that a field has no effect, or what replaces it."""
        self._document.notes.append(Fault(self.at(key) if key else self.path, message))

    def at(self, key: str) -> str:
        """Return the path of a field."""
        if self._is_pair and key in {"name", "value"}:
            return self.path  # the document has an entry of an object here, not a pair
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, message: str) -> None:
        """Record that a field is wrong."""
        self._faults.append(Fault(self.at(key) if key else self.path, message))

    def raw(self, key: str) -> Any:
        """Return a field as it is."""
        self._read.add(key)
        return self._value.get(key)

    def text(self, key: str, *, required: bool = False) -> str | None:
        """Return a string."""
        value: str | None = self._typed(key, str, required=required)
        return value

    def number(self, key: str, least: int, most: int) -> int | None:
        """Return an integer within bounds."""
        value: int | None = self._typed(key, int, found=whole_number(self.raw(key)))
        if value is not None and not least <= value <= most:
            self.fault(key, f"expected an integer from {least} to {most}, found {value}")
            return None
        return value

    def flag(self, key: str) -> bool | None:
        """Return a boolean."""
        if isinstance(found := truth(self.raw(key)), bool):
            return found
        value: bool | None = self._typed(key, bool)
        return value

    def choice(self, key: str, *allowed: str) -> str | None:
        """Return a string that must be one of the allowed ones."""
        value = self.text(key)
        if value is not None and value not in allowed:
            self.fault(key, f"expected {' or '.join(allowed)}, found {describe(value)}")
            return None
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of strings; a number counts as an unquoted string."""
        found = []
        for index, value in enumerate(self._typed(key, list) or []):
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                found.append(str(value))
            else:
                self.fault(f"{key}[{index}]", f"expected a string, found {describe(value)}")
        return found

    def words(self, key: str) -> list[str]:
        """Return a command line: a list of strings, or one string, split as a shell would."""
        value = self.raw(key)
        if not isinstance(value, str):
            return self.texts(key)
        try:
            return shlex.split(value)
        except ValueError as error:
            self.fault(key, f"cannot be split into words ({error}); expected a list of strings")
            return []

    def child(self, key: str) -> Reader:
        """Return an object, or an empty one if it is absent."""
        return Reader(self._typed(key, dict) or {}, self.at(key), self._faults, parent=self)

    def children(self, key: str) -> Iterator[Reader]:
        """Yield the objects of a list."""
        for index, value in enumerate(self._typed(key, list) or []):
            if isinstance(value, Mapping):
                yield Reader(value, self.at(f"{key}[{index}]"), self._faults, parent=self)
            else:
                self.fault(
                    f"{key}[{index}]", f"expected an object, found {self._kind_of(key, value)}"
                )

    def pairs(self, key: str) -> Iterator[Reader]:
        """Yield a list's objects with ``name`` and ``value``, or an object's entries as such."""
        found = self.raw(key)
        if not isinstance(found, Mapping):
            yield from self.children(key)
            return
        for name, value in found.items():
            if value is not None:  # None removes a variable, as everywhere in Prefect
                path = self.at(f"{key}.{name}")
                yield Reader(
                    {"name": name, "value": value}, path, self._faults, parent=self, is_pair=True
                )

    def accept(self, *keys: str) -> None:
        """Mark fields that need no translation as read."""
        self._read.update(keys)

    def beside(self, key: str) -> None:
        """Mark a field as one that only Kubernetes has, so that it is never suggested."""
        self._refused.add(key)

    def refuse(self, key: str, why: str) -> None:
        """Record a fault for a field that the platform cannot express, if it is present."""
        self._refused.add(key)
        if self.raw(key) not in (None, [], {}, ""):
            self.fault(key, why)

    def finish(self) -> None:
        """Record a fault for every field that was not read."""
        for key in sorted(map(str, set(self._value) - self._read)):
            if self._value.get(key) is not None:
                self._document.unknown.append((len(self._faults), self, key))
                self.fault(key, _UNKNOWN)

    def misspelled(self, key: str) -> str | None:
        """Return a field of this object that may be a misspelling of an absent field."""
        return suggestions.near(key, [name for name in self._value if name not in self._read])

    @property
    def _known(self) -> set[str]:
        """The fields that are valid in this object."""
        return self._read - self._refused

    def _meant(self, key: str) -> str | None:
        known = self._known - self._value.keys()
        if close := suggestions.same(key, self._read - self._value.keys()):
            return f"is not a field; did you mean {close!r}?"
        if places := self._places_of(key)[:_MOST_PLACES]:
            return f"does not belong here; move it to {' or '.join(places)}"
        close = suggestions.near(key, known)
        return f"is not a field; did you mean {close!r}?" if close else None

    @property
    def _level(self) -> str:
        return _INDEX.sub("[]", self.path)

    def _places_of(self, key: str) -> list[str]:
        """Return the paths of fields of this name on other levels.

        That is the nearest one further up, or else all others.
        """
        reader = self._parent
        while reader is not None:
            if close := suggestions.same(key, reader._known):  # noqa: SLF001 - of its own kind
                return [reader.at(close)]
            reader = reader._parent  # noqa: SLF001 - of its own kind
        found = []
        for level, other in self._document.levels.items():
            if level != self._level and (close := suggestions.same(key, other._known)):  # noqa: SLF001 - of its own kind
                is_below = level.startswith(self._level + "." if self._level else "")
                place = (
                    self.path + level.removeprefix(self._level).replace("[]", "[0]")
                    if is_below
                    else other.path
                )
                found.append(f"{place}.{close}".removeprefix("."))
        return found

    def _typed(self, key: str, kind: type, *, required: bool = False, found: Any = None) -> Any:
        value = self.raw(key) if found is None else found
        if value is None:
            if required:
                self.fault(key, f"is missing; expected {_KINDS[kind]}")
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fault(key, f"expected {_KINDS[kind]}, found {self._kind_of(key, value)}")
            return None
        return value

    def _kind_of(self, key: str, value: object) -> str:
        return (
            describe_apart(value)
            if _MAY_BE_SECRET.intersection(_PARTS.split(self.at(key)))
            else describe(value)
        )


_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})|0[xX][0-9a-fA-F]{1,15}|0o[0-7]{1,20}")


def truth(value: Any) -> Any:
    """Return the boolean that a word means in YAML, for fields that expect one; else the value.

    >>> truth("False"), truth("no"), truth("nothing"), truth(1)
    (False, False, 'nothing', 1)
    """
    word = (
        value.lower()
        if isinstance(value, str) and value in {value.lower(), value.upper(), value.capitalize()}
        else None
    )
    return True if word in _YES else False if word in _NO else value


def whole_number(value: Any) -> Any:
    """Return the integer that a string means in YAML, for fields that expect one; else the value.

    A number with a leading zero is left alone, because YAML 1.1 and YAML 1.2 differ about it.

    >>> [whole_number(value) for value in ("+60", "0x3C", "010", "1h", True)]
    [60, 60, '010', '1h', True]
    """
    return int(value, 0) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


def text_at(found: object, key: str) -> str | None:
    """Return a string of an object, if the object is a mapping that has one there.

    Unlike an arbitrary value, a string can always be looked up in a set.

    >>> text_at({"kind": "Job"}, "kind"), text_at({"kind": []}, "kind"), text_at([], "kind")
    ('Job', None, None)
    """
    value = found.get(key) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else None


def describe(value: object) -> str:
    """Describe briefly what was found, for an error message."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        unfilled = (
            ", a placeholder that was not filled in; render the template first"
            if holds_placeholder(value)
            else ""
        )
        return f"the string {shown(value)}{unfilled}"
    if isinstance(value, int):
        return f"the integer {shown(value)}"
    if isinstance(value, float):
        return f"the number {shown(value)}"
    if isinstance(value, list | Mapping):
        return "a list" if isinstance(value, list) else "an object"
    return "nothing" if value is None else f"a {type(value).__name__}"


def describe_apart(value: object) -> str:
    """Describe what was found, without showing a string, because it may be a secret.

    >>> describe_apart("--password=hush"), describe_apart(3)
    ('a string', 'the integer 3')
    """
    return "a string" if isinstance(value, str) else describe(value)
