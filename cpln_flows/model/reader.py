"""Reading an untrusted document field by field: faults are collected with their paths, what nobody read is found at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cpln_flows.errors import Fault
from cpln_flows.model.limits import shown

_KINDS: Mapping[type, str] = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}


class Reader:
    """One object of a document. Null counts as absent, as it does in Kubernetes."""

    def __init__(self, value: Mapping[str, Any], path: str, faults: list[Fault]) -> None:
        self.path = path
        self.faults = faults
        self._value = value
        self._read: set[str] = set()

    def at(self, key: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, message: str) -> None:
        """Note that a field is wrong."""
        self.faults.append(Fault(self.at(key) if key else self.path, message))

    def raw(self, key: str) -> Any:
        """Return a field as it is."""
        self._read.add(key)
        return self._value.get(key)

    def text(self, key: str, *, required: bool = False) -> str | None:
        """Return a text."""
        value: str | None = self._typed(key, str, required=required)
        return value

    def number(self, key: str, least: int, most: int) -> int | None:
        """Return a whole number within bounds."""
        value: int | None = self._typed(key, int)
        if value is not None and not least <= value <= most:
            self.fault(key, f"expected a whole number from {least} to {most}, found {value}")
            return None
        return value

    def flag(self, key: str) -> bool | None:
        """Return a truth value."""
        value: bool | None = self._typed(key, bool)
        return value

    def choice(self, key: str, *allowed: str) -> str | None:
        """Return one of some words."""
        value = self.text(key)
        if value is not None and value not in allowed:
            self.fault(key, f"expected {' or '.join(allowed)}, found {describe(value)}")
            return None
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of texts; a number is a text without quotes."""
        found = []
        for index, value in enumerate(self._typed(key, list) or []):
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                found.append(str(value))
            else:
                self.fault(f"{key}[{index}]", f"expected a text, found {describe(value)}")
        return found

    def child(self, key: str) -> Reader:
        """Return an object, an empty one if it is absent."""
        return Reader(self._typed(key, dict) or {}, self.at(key), self.faults)

    def children(self, key: str) -> Iterator[Reader]:
        """Yield the objects of a list."""
        for index, value in enumerate(self._typed(key, list) or []):
            if isinstance(value, Mapping):
                yield Reader(value, self.at(f"{key}[{index}]"), self.faults)
            else:
                self.fault(f"{key}[{index}]", f"expected an object, found {describe(value)}")

    def accept(self, *keys: str) -> None:
        """Note fields that need no translation."""
        self._read.update(keys)

    def refuse(self, key: str, why: str) -> None:
        """Note a field that cannot be expressed on the platform, if it is there."""
        if self.raw(key) not in (None, [], {}, ""):
            self.fault(key, why)

    def finish(self) -> None:
        """Note every field that nobody asked for."""
        for key in sorted(map(str, set(self._value) - self._read)):
            if self._value.get(key) is not None:
                self.fault(key, "is not supported on Control Plane; remove it")

    def _typed(self, key: str, kind: type, *, required: bool = False) -> Any:
        value = self.raw(key)
        if value is None:
            if required:
                self.fault(key, f"is missing; expected {_KINDS[kind]}")
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fault(key, f"expected {_KINDS[kind]}, found {describe(value)}")
            return None
        return value


def describe(value: object) -> str:
    """Say what was found, short, for an error's text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return f"the {'text' if isinstance(value, str) else 'number'} {shown(value)}"
    if isinstance(value, list | Mapping):
        return "a list" if isinstance(value, list) else "an object"
    return "nothing" if value is None else f"a {type(value).__name__}"
