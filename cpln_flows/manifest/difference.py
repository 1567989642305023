"""What differs between a manifest as it is written and the object that the platform has of it. Pure.

The platform fills in defaults and drops what it does not know (control-plane-api.md, F196), so only what is written counts: a
field that only the live object has is no difference. Variables, containers and volumes are compared by their names and places,
not by their order, which the platform does not keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ABSENT = None
_KEYS = ("name", "path", "number")
"""Fields by which the objects of a list are told apart."""
_EMPTY: tuple[object, ...] = (None, "", [], {}, ())


@dataclass(frozen=True)
class Difference:
    """One field that differs.

    Attributes:
        path: Where it stands.
        live: What the platform has; nothing if the field is not there.
        written: What the manifest says.
    """

    path: str
    live: Any
    written: Any


def differences(written: Mapping[str, Any], live: Mapping[str, Any]) -> list[Difference]:
    """Return the fields of a manifest that the live object has otherwise.

    Args:
        written: The manifest.
        live: The object.

    Example:
        >>> found = differences({"spec": {"cpu": "1", "args": []}}, {"spec": {"cpu": "2", "memory": "1Gi"}, "version": 3})
        >>> [(one.path, one.live, one.written) for one in found]
        [('spec.cpu', '2', '1')]
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
            if all(isinstance(one, Mapping) and key in one for one in (*written, *live))
        ),
        None,
    )
    if key is None:
        if list(written) != list(live):
            yield Difference(path, list(live), list(written))
        return
    there = {str(one[key]): one for one in live}
    for one in written:
        name = str(one[key])
        if name in there:
            yield from _of_objects(one, there.pop(name), f"{path}[{name}]")
        else:
            yield Difference(f"{path}[{name}]", None, one)
    for name, one in there.items():
        yield Difference(f"{path}[{name}]", one, None)
