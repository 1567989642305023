"""Copy a document into plain JSON values, and report everything else. Knows no fields.

YAML and callers can put values into a document that JSON does not have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cpln_flows.errors import Fault
from cpln_flows.model.display import shown

_DEPTH = 32
_VALUES = 100_000  # far beyond any manifest; ten lines of YAML aliases can produce billions
_LARGEST_NUMBER = 2**63 - 1
# An unpaired surrogate cannot be sent, and a NUL ends a program's arguments and variables.
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
_ODD = "contains a NUL or an unpaired surrogate, which no program can receive; remove it"


def copy(document: Mapping[Any, Any], faults: list[Fault]) -> dict[str, Any]:
    """Return a deep copy with JSON values only; anything else becomes null and a fault."""
    return _Walk(faults).mapping(document, "", 0)


@dataclass
class _Walk:
    faults: list[Fault]
    left: int = field(default=_VALUES)

    def mapping(self, found: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, value in found.items():
            if self.left <= 0:
                break
            if not isinstance(key, str):
                self.faults.append(
                    Fault(path, f"the key {_key(key)} is not a string; put quotes around it")
                )
            elif _NO_TEXT.search(key):
                self.faults.append(Fault(path, f"the key {shown(key)} {_ODD}"))
            else:
                copied[key] = self.value(value, f"{path}.{key}" if path else key, depth + 1)
        return copied

    def sequence(self, found: list[Any] | tuple[Any, ...], path: str, depth: int) -> list[Any]:
        copied = []
        for index, value in enumerate(found):
            if self.left <= 0:
                break
            copied.append(self.value(value, f"{path}[{index}]", depth + 1))
        return copied

    def value(self, found: object, path: str, depth: int) -> Any:
        self.left -= 1
        if self.left == 0:
            self.faults.append(
                Fault("", f"it has more than {_VALUES:,} values, too many for a job's manifest")
            )
        if depth > _DEPTH:
            self.faults.append(Fault(path, f"is nested more than {_DEPTH} levels deep"))
            return None
        if isinstance(found, Mapping):
            return self.mapping(found, path, depth)
        if isinstance(found, list | tuple):
            return self.sequence(found, path, depth)
        if wrong := _scalar_fault(found):
            self.faults.append(Fault(path, wrong))
            return None
        return found


def _scalar_fault(found: object) -> str | None:
    if found is None or isinstance(found, bool):
        return None
    if isinstance(found, str):
        return _ODD if _NO_TEXT.search(found) else None
    if isinstance(found, int):
        return (
            None
            if abs(found) <= _LARGEST_NUMBER
            else "is a number of more than 64 bits; put quotes around it"
        )
    if isinstance(found, float):
        return (
            None
            if math.isfinite(found)
            else f"{found} is not a number in JSON; put quotes around it"
        )
    return f"is a {type(found).__name__}, which JSON does not have; put quotes around it"


def _key(key: object) -> str:
    if isinstance(key, int | float) and _scalar_fault(key) is None:
        return shown(key)
    return "null" if key is None else f"of type {type(key).__name__}"
