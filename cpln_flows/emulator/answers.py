"""The response to a request: a success, or a refusal in the platform's error format.

Makes no decisions and does no I/O.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

Document: TypeAlias = dict[str, Any]

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"

OK = 200
CREATED = 201
NO_CONTENT = 204
BAD_REQUEST = 400
UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405
REQUEST_TIMEOUT = 408
CONFLICT = 409
CONTENT_TOO_LARGE = 413
URI_TOO_LONG = 414
UNSUPPORTED_MEDIA_TYPE = 415
TOO_MANY_REQUESTS = 429
HEAD_TOO_LARGE = 431
SERVICE_UNAVAILABLE = 503
GATEWAY_TIMEOUT = 504

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "PAYLOAD_TOO_LARGE",
    414: "URI_TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "TOO_MANY_REQUESTS",
    431: "REQUEST_HEADER_FIELDS_TOO_LARGE",
    500: "INTERNAL_SERVER_ERROR",
    502: "BAD_GATEWAY",
    503: "SERVICE_UNAVAILABLE",
    504: "GATEWAY_TIMEOUT",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, complete."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(
    content: object, status: int = OK, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """Answer with JSON."""
    return Answer(status, orjson.dumps(content), JSON_TYPE, headers)


def text_answer(text: str, status: int = OK, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Answer with plain text."""
    return Answer(status, text.encode(), TEXT_TYPE, headers)


class RefusedError(Exception):
    """A request is refused; carries the contents of the error body, and headers."""

    def __init__(
        self,
        status: int,
        message: str,
        details: object = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details
        self.headers = headers

    def answer(self) -> Answer:
        """Return the response."""
        return error_answer(self.status, self.message, self.details, self.headers)


def error_answer(
    status: int, message: str, details: object = None, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """Answer with the platform's error body."""
    body: Document = {
        "status": status,
        "message": message,
        "code": _CODES.get(status, "ERROR"),
        "id": str(uuid.uuid4()),
    }
    if details is not None:
        body["details"] = details
    return json_answer(body, status, headers)


def refuse(
    status: int,
    message: str,
    details: object = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> RefusedError:
    """Build the refusal; the caller raises it."""
    return RefusedError(status, message, details, headers)
