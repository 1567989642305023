"""Check whether a JSON value matches the annotation of a dataclass field. Pure."""

from __future__ import annotations

import types
from typing import Literal, Union, get_args, get_origin


def fits(value: object, hint: object) -> bool:
    """Return whether a value has a type: a plain type, a choice of literals, or a union of both."""
    if get_origin(hint) is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return any(fits(value, each) for each in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float)
    return isinstance(hint, type) and isinstance(value, hint)
