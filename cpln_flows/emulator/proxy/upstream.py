"""Connect to where a request goes; a failure is what its client is to read."""

from __future__ import annotations

import contextlib
import os

from cpln_flows.emulator.proxy.entrances import Outside
from cpln_flows.emulator.proxy.routes import Refused, Route
from cpln_flows.emulator.proxy.streams import Stream, connect

BAD_GATEWAY = 502
SERVICE_UNAVAILABLE = 503
GATEWAY_TIMEOUT = 504
_RESET = "upstream connect error or disconnect/reset before headers. reset reason: "
NO_BACKEND = Refused(SERVICE_UNAVAILABLE, "no healthy upstream")
CONNECTION_FAILURE = Refused(SERVICE_UNAVAILABLE, f"{_RESET}connection failure")
CONNECTION_TERMINATION = Refused(SERVICE_UNAVAILABLE, f"{_RESET}connection termination")
PROTOCOL_ERROR = Refused(BAD_GATEWAY, f"{_RESET}protocol error")
TIMEOUT = Refused(GATEWAY_TIMEOUT, "upstream request timeout")


class FailedError(Exception):
    """A request could not be served.

    Attributes:
        refused: What the client is told, if the head of a response was not sent yet.
    """

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


async def reach(destination: Route | Outside, closing: contextlib.ExitStack) -> Stream:
    """Connect to the first backend that accepts, or to the outside world.

    Args:
        destination: Where to connect to.
        closing: Closes the connection, even if nobody takes the result because time has run out.

    Raises:
        FailedError: Nothing accepts the connection.
    """
    if isinstance(destination, Outside):
        stream = await _reach_outside(destination)
    else:
        stream = await _reach_backend(destination)
    closing.callback(stream.close)
    return stream


async def _reach_backend(destination: Route) -> Stream:
    if not destination.backends:
        raise FailedError(NO_BACKEND)
    for backend in destination.backends:
        try:
            return await connect(backend.host, backend.port)
        except OSError:
            continue
    raise FailedError(CONNECTION_FAILURE)


async def _reach_outside(outside: Outside) -> Stream:
    try:
        return await connect(outside.host, outside.port)
    except OSError as error:
        message = f"cannot connect to {outside.host}:{outside.port}: {_reason(error)}"
        raise FailedError(Refused(BAD_GATEWAY, message)) from error


def _reason(error: OSError) -> str:
    # asyncio words its errors with the address; those of name resolution have negative numbers.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
