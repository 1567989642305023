"""Map error answers and foreign exceptions to errors of this package, and only here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from cpln_flows.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TransportError,
    UnauthorizedError,
)

_LONGEST_MESSAGE = 500
_LONGEST_BODY = 10 * _LONGEST_MESSAGE
_HIDDEN = "(the token)"
_LEAST_TOKEN = 8  # a shorter string is not a key of the platform, but part of many words
_FIRST_CLIENT_ERROR = 400
_FIRST_SERVER_ERROR = 500
_REDIRECTED = (
    "redirects are not followed, because the token would go with them;"
    " set CPLN_ENDPOINT to where the API itself is"
)
_CLASSES: Mapping[int, type[ApiError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    408: ServerError,  # the server gave up waiting, and does not report what it had read until then
    409: ConflictError,
    429: RateLimitedError,
}
_HINTS: Mapping[int, str] = {
    400: "correct what the platform names, in the manifest or in the settings of the job",
    401: (
        "the token is missing, wrong or expired: check the token of the Control Plane Configuration"
        " block or CPLN_TOKEN"
    ),
    403: (
        "grant the permission to the service account or identity whose token is used; a token that"
        " the platform injects works only inside its own workload and never for logs"
    ),
    429: (
        "run the flow again later, or fewer jobs at the same time; a quota is raised by the"
        " vendor's support"
    ),
}


def error_of(
    *, status: int, method: str, path: str, body: bytes, headers: Mapping[str, str], token: str
) -> ApiError:
    """Return the error for an answer with an error status.

    Args:
        status: The answer's status, 300 or more.
        method: The request's method, for the message.
        path: The request's path, for the message.
        body: The answer's body; the platform sends an object with ``status``, ``message``,
            ``code``, ``details`` and ``id``.
        headers: The answer's headers; ``Retry-After`` is read.
        token: The token that was sent; it is masked if the answer repeats it.
    """
    message = _message(body)
    kind = _CLASSES.get(status, ServerError if status >= _FIRST_SERVER_ERROR else ApiError)
    if "already exists" in message.lower() and kind is ApiError:
        kind = ConflictError  # the platform answers a second stopReplica with this 400
    return kind(
        status=status,
        method=method,
        path=path,
        message=(message.replace(token, _HIDDEN) if len(token) >= _LEAST_TOKEN else message)[
            :_LONGEST_MESSAGE
        ],
        hint=_REDIRECTED if status < _FIRST_CLIENT_ERROR else _HINTS.get(status, ""),
        retry_after=_retry_after(headers),
    )


def transport_error(
    error: httpx.RequestError, *, method: str, path: str, endpoint: str
) -> TransportError:
    """Return the error for a request that received no answer.

    The caller chains the original error. Its request is replaced by one without headers, because
    those contain the token.
    """
    error.request = httpx.Request(method, endpoint + path)
    sent = not isinstance(
        error,
        httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol,
    )
    what = "no answer" if sent else "cannot be reached"
    # httpx quotes what HTTP does not allow, which may be the header with the token.
    said = (
        type(error).__name__
        if isinstance(error, httpx.LocalProtocolError)
        else str(error) or type(error).__name__
    )
    return TransportError(
        f"{method} {path}: {endpoint} {what} ({said}); check CPLN_ENDPOINT and the network",
        sent=sent,
    )


def _message(body: bytes) -> str:
    try:
        answer: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if isinstance(answer, Mapping) and answer.get("message"):
        return str(answer["message"])
    return body[:_LONGEST_BODY].decode(errors="replace").strip()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds to wait.

    A date is measured by the clock that wrote it (RFC 9110, section 10.2.3).
    """
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value)) if value and math.isfinite(float(value)) else None
    except ValueError:
        pass
    try:
        until, now = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):  # not a date, or only one of the two names its time zone
        return None
