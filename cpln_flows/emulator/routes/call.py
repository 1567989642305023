"""One HTTP request as the routes see it.

It has been read completely, so that handling it cannot be interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

import orjson

from cpln_flows.emulator.answers import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    Document,
    RefusedError,
    refuse,
)
from cpln_flows.emulator.permissions import Principal

# Deeper nesting could be stored, but not be serialized in a response.
_DEPTH_MAX = 100
_VALUES_MAX = 100_000
_PARAMS_MAX = 100


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    method: str
    path: str
    query: str
    body: bytes
    principal: Principal
    base_url: str

    @property
    def params(self) -> dict[str, str]:
        """The query parameters; the last of equal names counts."""
        return read_params(self.query)

    def document(self) -> Document:
        """Return the body as a JSON object."""
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise refuse(BAD_REQUEST, f"the body is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise refuse(BAD_REQUEST, "the body must be a JSON object")
        brackets, commas = self.body.count(b"{") + self.body.count(b"["), self.body.count(b",")
        if brackets > _DEPTH_MAX or brackets + commas > _VALUES_MAX:
            _check_size(content)
        return content

    def not_allowed(self) -> RefusedError:
        """Return the refusal of a method that the path does not support."""
        return refuse(METHOD_NOT_ALLOWED, f"{self.method} is not allowed on {self.path}")


def read_params(text: str) -> dict[str, str]:
    """Parse a query string or a form; the last of equal names counts."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_PARAMS_MAX))
    except ValueError:
        raise refuse(BAD_REQUEST, f"there are more than {_PARAMS_MAX} parameters") from None


def _check_size(content: object) -> None:
    level, depth, values = [content], 0, 0
    while level:
        depth += 1
        values += len(level)
        if depth > _DEPTH_MAX:
            raise refuse(BAD_REQUEST, f"the body is nested deeper than {_DEPTH_MAX} levels")
        if values > _VALUES_MAX:
            raise refuse(BAD_REQUEST, f"the body holds more than {_VALUES_MAX} values")
        level = [item for each in level for item in _items(each)]


def _items(content: object) -> Iterable[object]:
    if isinstance(content, dict):
        return content.values()
    return content if isinstance(content, list) else ()
