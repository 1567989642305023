"""Read the body of a request, with limits on size and time. For admitted requests only."""

from __future__ import annotations

import asyncio
import re

from starlette.types import Receive

from cpln_flows.emulator.answers import (
    BAD_REQUEST,
    CONTENT_TOO_LARGE,
    REQUEST_TIMEOUT,
    UNSUPPORTED_MEDIA_TYPE,
    RefusedError,
    refuse,
)
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.head import Head

_LENGTH = re.compile(rb"[0-9]{1,19}")
# So that a client that sends first and reads later finds the refusal instead of a reset connection.
_DRAIN_BYTES = 64 * 2**20
_DRAIN_SECONDS = 2.0
_PAUSE_SECONDS = 0.25


class ClientGoneError(Exception):
    """The client disconnected before its request was complete: nothing of it may take effect."""


class RequestBodies:
    """Reads the bodies of requests."""

    def __init__(self, config: PlatformConfig) -> None:
        self._config = config

    async def read(self, head: Head, receive: Receive) -> bytes:
        """Read a whole body; raise ``RefusedError`` if it is too long, too slow or encoded."""
        if not has_body(head):
            return await self._joined(receive)
        self._check(head)
        try:
            async with asyncio.timeout(self._config.read_timeout_seconds):
                return await self._joined(receive)
        except TimeoutError:
            seconds = self._config.read_timeout_seconds
            raise refuse(
                REQUEST_TIMEOUT, f"the body did not arrive within {seconds:g} seconds"
            ) from None

    def _check(self, head: Head) -> None:
        encoding = head.header(b"content-encoding")
        if encoding is not None and encoding.strip().lower() != "identity":
            raise refuse(
                UNSUPPORTED_MEDIA_TYPE,
                f"a body must not be encoded, but this is {encoding[:100]!r}",
            )
        length = head.headers.get(b"content-length")
        if length is None:
            return
        if not _LENGTH.fullmatch(length):
            raise refuse(BAD_REQUEST, '"Content-Length" is not a number')
        if int(length) > self._config.body_limit_bytes:
            raise self._too_large()

    async def _joined(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._config.body_limit_bytes:
                raise self._too_large()
            chunks.append(chunk)
            if not message.get("more_body"):
                return b"".join(chunks)

    def _too_large(self) -> RefusedError:
        return refuse(
            CONTENT_TOO_LARGE,
            f"the body must be at most {self._config.body_limit_bytes} bytes long",
        )


def has_body(head: Head) -> bool:
    """Return whether a request announces a body."""
    return head.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in head.headers


async def drain(receive: Receive) -> None:
    """Discard the rest of a refused body, within limits of size and time."""
    size = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while size < _DRAIN_BYTES:
                message = await asyncio.wait_for(receive(), _PAUSE_SECONDS)
                size += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return
