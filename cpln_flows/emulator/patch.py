"""Apply a PATCH to a document: a deep merge with operators.

The operators are ``$append``, ``$drop``, ``$replace`` and ``$patch``.

Pure: takes a document and a patch, returns a new document.
"""

from __future__ import annotations

import orjson

from cpln_flows.emulator.answers import BAD_REQUEST, Document, refuse

_OPERATORS = ("$append", "$drop", "$replace", "$patch")


def apply_patch(document: Document, patch: Document) -> Document:
    """Merge a patch into a document; ``null`` removes a field or a tag."""
    merged = dict(document)
    for key, value in patch.items():
        operator, slash, field = key.partition("/")
        if operator in _OPERATORS and (slash or operator == "$drop"):
            _operate(merged, operator, field, value)
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            current = merged.get(key)
            merged[key] = apply_patch(current if isinstance(current, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _operate(document: Document, operator: str, field: str, value: object) -> None:
    if operator == "$replace":
        document[field] = value
    elif operator == "$append":
        document[field] = [*_items(document, field), *_as_list(value, f"$append/{field}")]
    elif operator == "$patch":
        document[field] = _merge_by_name(
            _items(document, field), _as_list(value, f"$patch/{field}")
        )
    elif not field:
        for name in _as_list(value, "$drop"):
            document.pop(str(name), None)
    else:
        document[field] = _drop(document.get(field), _as_list(value, f"$drop/{field}"))


def _as_list(value: object, path: str) -> list[object]:
    if not isinstance(value, list):
        raise refuse(BAD_REQUEST, f'"{path}" must be an array')
    return value


def _items(document: Document, field: str) -> list[object]:
    found = document.get(field)
    return found if isinstance(found, list) else []


def _name(item: object) -> object:
    return item.get("name") if isinstance(item, dict) else item


def _drop(current: object, unwanted: list[object]) -> object:
    names = {_mark(_name(item)) for item in unwanted}
    if isinstance(current, dict):
        return {key: value for key, value in current.items() if _mark(key) not in names}
    if isinstance(current, list):
        return [item for item in current if _mark(_name(item)) not in names]
    return current


def _mark(name: object) -> bytes:
    """Return a hashable key that equal names share, even if the names are not hashable."""
    return orjson.dumps(name, option=orjson.OPT_SORT_KEYS)


def _merge_by_name(current: list[object], changes: list[object]) -> list[object]:
    merged = list(current)
    places = {
        name: index for index, item in enumerate(current) if isinstance(name := _name(item), str)
    }
    for change in changes:
        name = _name(change)
        index = places.get(name) if isinstance(name, str) else None
        if index is None:
            merged.append(change)
            continue
        old = merged[index]
        merged[index] = (
            apply_patch(old, change)
            if isinstance(old, dict) and isinstance(change, dict)
            else change
        )
    return merged
