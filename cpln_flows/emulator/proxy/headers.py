"""The heads that a proxy passes on, made from those that it received. No I/O.

What belongs to one connection ends here (RFC 9110, 7.6.1). So does the framing of a body: it is
chosen anew for each connection, and of two framings that contradict each other, one is passed on.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

import h11

_Header = tuple[bytes, bytes]

_HOP_BY_HOP = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    ]
)
# A sender that lists these in Connection would change what its message means.
_NEVER_HOP_BY_HOP = frozenset([b"host", b"content-length"])
_CONNECTION_UPGRADE = (b"Connection", b"Upgrade")


def credentials_of(request: h11.Request) -> str | None:
    """Return the ``user:password`` that a request presents to the proxy."""
    values = _values(request, b"proxy-authorization")
    if len(values) != 1:
        return None
    scheme, _, encoded = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded if ":" in decoded else None


def upgrade_of(message: h11.Request | h11.InformationalResponse) -> bytes | None:
    """Return the protocols that a message wants to switch to."""
    if message.http_version < b"1.1" or b"upgrade" not in _tokens(message, b"connection"):
        return None
    return b", ".join(_values(message, b"upgrade")) or None


def request_head(
    request: h11.Request, target: bytes, host: bytes, forwarded_for: str | None
) -> h11.Request:
    """Make the head that goes upstream.

    Args:
        request: The head that the client sent.
        target: The target in origin form.
        host: The ``Host`` of a request that has none, as is allowed in HTTP/1.0.
        forwarded_for: The address of the client; ``None`` if it is nobody's business upstream.
    """
    headers = _end_to_end(request)
    if not _values(request, b"host"):
        headers.insert(0, (b"Host", host))
    if request.http_version < b"1.1":
        headers = _without(headers, b"expect")
    if _is_chunked(request):
        headers = _without(headers, b"content-length")
        headers.append((b"Transfer-Encoding", b"chunked"))
    if forwarded_for is not None:
        known = [*_values(request, b"x-forwarded-for"), forwarded_for.encode()]
        headers = _without(headers, b"x-forwarded-for", b"x-forwarded-proto")
        headers.append((b"X-Forwarded-For", b", ".join(known)))
        headers.append((b"X-Forwarded-Proto", b"http"))
    upgrade = upgrade_of(request)
    if upgrade is None:
        headers.append((b"Connection", b"close"))
    else:
        headers += [_CONNECTION_UPGRADE, (b"Upgrade", upgrade)]
    return h11.Request(method=request.method, target=target, headers=headers)


def response_head(response: h11.Response) -> h11.Response:
    """Make the head that goes to the client; h11 adds the framing that the client knows."""
    headers = _end_to_end(response)
    if _is_chunked(response):
        headers = _without(headers, b"content-length")
    return h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)


def informational_head(response: h11.InformationalResponse) -> h11.InformationalResponse:
    """Make the interim head that goes to the client, with the new protocol if it switches."""
    headers = _end_to_end(response)
    upgrade = upgrade_of(response)
    if upgrade is not None:
        headers += [_CONNECTION_UPGRADE, (b"Upgrade", upgrade)]
    return h11.InformationalResponse(
        status_code=response.status_code, headers=headers, reason=response.reason
    )


def announces_body(request: h11.Request) -> bool:
    """Return whether a body follows a head."""
    return _is_chunked(request) or any(
        value.strip(b"0") for value in _values(request, b"content-length")
    )


def head_size(request: h11.Request) -> int:
    """Return about how many bytes a head had on the wire."""
    lines = sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers)
    return len(request.method) + len(request.target) + lines


def _end_to_end(message: h11.Request | h11.Response | h11.InformationalResponse) -> list[_Header]:
    listed = _tokens(message, b"connection") - _NEVER_HOP_BY_HOP
    dropped = _HOP_BY_HOP | listed
    return [
        (name, value)
        for name, value in message.headers.raw_items()
        if name.lower() not in dropped and not name.lower().startswith(b"proxy-")
    ]


def _without(headers: Iterable[_Header], *names: bytes) -> list[_Header]:
    return [(name, value) for name, value in headers if name.lower() not in names]


def _values(
    message: h11.Request | h11.Response | h11.InformationalResponse, wanted: bytes
) -> list[bytes]:
    return [value for name, value in message.headers if name == wanted]


def _tokens(
    message: h11.Request | h11.Response | h11.InformationalResponse, wanted: bytes
) -> frozenset[bytes]:
    joined = b",".join(_values(message, wanted)).lower()
    return frozenset(token.strip() for token in joined.split(b","))


def _is_chunked(message: h11.Request | h11.Response) -> bool:
    return bool(_values(message, b"transfer-encoding"))
