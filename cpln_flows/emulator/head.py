"""What a request says before its body: path, query, headers, and by which address it came. Read once; decides nothing."""

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
        query: The query string as it came.
        headers: The headers by lower-case name; the last of equal ones counts.
        size: Length of path, query and headers together, in bytes.
        scheme: ``http`` or ``https``, for an upgrade too.
        server: Address and port at which the request arrived; the port is absent where it is the scheme's own.
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
        """The value of a header, by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def base_url(self) -> str:
        """The platform's address as this client reached it."""
        return f"{self.scheme}://{unquote(self.header(b'host') or '')}"
