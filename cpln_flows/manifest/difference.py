"""Differences between a manifest and the live object that the platform made of it. Pure.

The platform fills in defaults and drops unknown fields (control-plane-api.md, F196), so only the
fields of the manifest count: a field that only the live object has is not a difference. Variables,
containers and volumes are matched by their names and paths, not by their order, which the platform
does not keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ABSENT = None
_KEYS = ("name", "path", "number")
"""Fields that identify the objects of a list."""
_EMPTY: tuple[object, ...] = (None, "", [], {}, ())


@dataclass(frozen=True)
class Difference:
    """One field that differs.

    Attributes:
        path: Path of the field.
        live: Value on the platform; ``None`` if the field is absent.
        written: Value in the manifest.
    """

    path: str
    live: Any
    written: Any


def differences(written: Mapping[str, Any], live: Mapping[str, Any]) -> list[Difference]:
    """Return the fields of a manifest whose values differ in the live object.

    Args:
        written: The manifest.
        live: The object.

    Example:
        >>> live = {"spec": {"cpu": "2", "memory": "1Gi"}, "version": 3}
        >>> (found,) = differences({"spec": {"cpu": "1", "args": []}}, live)
        >>> found.path, found.live, found.written
        ('spec.cpu', '2', '1')
    """
    return list(_of_objects(written, live, ""))


def _of_objects(
    written: Mapping[str, Any], live: Mapping[str, Any], path: str
) -> Iterator[Difference]:
    for key, value in written.items():
        yield from _of_values(value, live.get(key, _ABSENT), f"{path}.{key}" if path else key)


def _of_values(written: Any, live: Any, path: str) -> Iterator[Difference]:
    if written in _EMPTY and live in _EMPTY:
        return
    if isinstance(written, Mapping) and isinstance(live, Mapping):
        yield from _of_objects(written, live, path)
    elif isinstance(written, list) and isinstance(live, list):
        yield from _of_lists(written, live, path)
    elif written != live:
        yield Difference(path, live, written)


def _of_lists(written: Sequence[Any], live: Sequence[Any], path: str) -> Iterator[Difference]:
    key = next(
        (
            key
            for key in _KEYS
            if all(isinstance(item, Mapping) and key in item for item in (*written, *live))
        ),
        None,
    )
    if key is None:
        if list(written) != list(live):
            yield Difference(path, list(live), list(written))
        return
    there = {str(item[key]): item for item in live}
    for item in written:
        name = str(item[key])
        if name in there:
            yield from _of_objects(item, there.pop(name), f"{path}[{name}]")
        else:
            yield Difference(f"{path}[{name}]", None, item)
    for name, item in there.items():
        yield Difference(f"{path}[{name}]", item, None)
