"""Check a container that is a process: a request, a connection, or a command in it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

import h11
from h2.exceptions import H2Error

from cpln_flows.emulator.executors.base import Check
from cpln_flows.emulator.executors.grpc_health import unhealthy

_HOST = "127.0.0.1"
_CHUNK = 1 << 14
_SHOWN = 200
_SHOWN_LINES = 5
_ERROR = 400


async def connects(check: Check) -> str | None:
    """Return why a connection or a request fails, or ``None``."""
    if check.port is None:
        return "the container declares no port, and the probe names none"
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(check.timeout_seconds):
            tls = _unverified() if check.kind == "http" and check.scheme == "https" else None
            reader, writer = await asyncio.open_connection(_HOST, check.port, ssl=tls)
            return await _answer(check, reader, writer)
    except TimeoutError:
        return f"no answer within {check.timeout_seconds:g} s"
    except (OSError, h11.ProtocolError, H2Error) as error:
        return f"{type(error).__name__}: {error}"[:_SHOWN]
    finally:
        if writer is not None:
            writer.transport.abort()


async def _answer(
    check: Check, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str | None:
    match check.kind:
        case "http":
            return await _request(check, reader, writer)
        case "grpc":
            return await unhealthy(f"{_HOST}:{check.port}", reader, writer)
    return None


async def _request(
    check: Check, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str | None:
    """Send the request of a probe; its answer's body is of no interest."""
    connection = h11.Connection(h11.CLIENT)
    own = {"host": f"{_HOST}:{check.port}", "connection": "close"}
    headers = own | {name.lower(): value for name, value in check.headers}
    target = f"/{check.path.lstrip('/')}"
    request = h11.Request(method="GET", target=target, headers=list(headers.items()))
    writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    while not isinstance(event := connection.next_event(), h11.Response):
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
    if event.status_code < _ERROR:
        return None
    return f"HTTP probe failed with statuscode: {event.status_code}"


def _unverified() -> ssl.SSLContext:
    """Return the terms of a kubelet's probe, which does not check certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def command_fails(
    execute: Callable[[Sequence[str], Callable[[list[str]], None]], Awaitable[int]],
    command: Sequence[str],
    seconds: float | None,
) -> str | None:
    """Run the command of a probe or a hook; return why it fails, or ``None``.

    Args:
        execute: Runs a command in the container.
        command: The command, and its arguments.
        seconds: Time after which everything that it started is killed; ``None`` for no limit.
    """
    if not command:
        return "no command is given"
    shown: list[str] = []

    def keep(lines: list[str]) -> None:
        shown.extend(line[:_SHOWN] for line in lines[: _SHOWN_LINES - len(shown)])

    try:
        async with asyncio.timeout(seconds):
            code = await execute(command, keep)
    except TimeoutError:
        return f"the command did not end within {seconds:g} s"
    except OSError as error:
        return f"the command cannot be run: {error}"[:_SHOWN]
    return None if code == 0 else f"exit code {code}: {' '.join(shown)}"[:_SHOWN]
