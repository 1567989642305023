"""The head of a request: path, query, headers, and the address at which it arrived.

It is read once and makes no decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from starlette.types import Scope

_HTTP_SCHEMES = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or of an upgrade to a WebSocket.

    Attributes:
        method: The method; an upgrade is a GET.
        path: The path, decoded.
        query: The query string as received.
        headers: The headers by lowercase name; the last of equal names counts.
        size: Total length of path, query and headers, in bytes.
        scheme: ``http`` or ``https``, also for an upgrade.
        server: Address and port at which the request arrived; the port is absent if it is the
            scheme's default.
    """

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    size: int
    scheme: str
    server: tuple[str, int | None]

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """Read the head of an ASGI scope."""
        scheme = str(scope.get("scheme", "http"))
        headers = scope["headers"]
        path, query = scope["path"], scope["query_string"]
        return cls(
            method=scope.get("method", "GET"),
            path=path,
            query=query.decode("latin-1"),
            headers=dict(headers),
            size=len(path) + len(query) + sum(len(name) + len(value) for name, value in headers),
            scheme=_HTTP_SCHEMES.get(scheme, scheme),
            server=scope.get("server") or ("127.0.0.1", None),
        )

    def header(self, name: bytes) -> str | None:
        """Return the value of a header by its lowercase name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def base_url(self) -> str:
        """The platform's address as this client reached it."""
        return f"{self.scheme}://{unquote(self.header(b'host') or '')}"
