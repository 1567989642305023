"""Commands in running containers, as ``cpln workload exec`` asks for them over a WebSocket.

The first message is a JSON object with the token, the names of the container, and the command.
Then each message to the client is a part of the output. A command that fails ends with a message
from which the command line reads its exit code. Terminals (``cpln workload connect``, ``--tty``)
and input are not served.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from cpln_flows.emulator.answers import RefusedError
from cpln_flows.emulator.authentication import Authentication
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.executors.base import Handle
from cpln_flows.emulator.links import collection_link
from cpln_flows.emulator.placement import Placement
from cpln_flows.emulator.resources import Resources

_WORDS_LIMIT = 256
_WAITING_LIMIT = 8 * 2**20
_FAILED = "Failed to create terminal session: "


class Place(Placement, Protocol):
    """A placement in whose containers commands can run."""

    def handle_of(self, container: str) -> Handle | None:
        """Return the handle of a running container with this name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for in its first message."""

    token: str = field(repr=False)
    workload_scope: str
    replica: str
    container: str
    command: tuple[str, ...]


class Terminals:
    """Runs commands in containers for clients."""

    def __init__(
        self,
        config: PlatformConfig,
        authentication: Authentication,
        resources: Resources,
        places: Callable[[], Iterable[Place]],
    ) -> None:
        self._config = config
        self._authentication = authentication
        self._resources = resources
        self._places = places

    async def serve(self, websocket: WebSocket, location: str) -> None:
        """Run one command, until it has ended or the client is gone."""
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(self._config.read_timeout_seconds):
                first = await websocket.receive_text()
            try:
                asked = read_request(first, self._config.org)
                handle = self._find(asked, location)
            except RefusedError as refusal:
                await websocket.send_text(f"Unauthorized: {refusal.message}")
            except ValueError as error:
                await websocket.send_text(f"{_FAILED}{error}")
            else:
                await _until_gone(websocket, _run(websocket, handle, asked.command))
            await websocket.close()

    def _find(self, asked: Asked, location: str) -> Handle:
        principal = self._authentication.principal(asked.token)
        for place in self._places():
            if (
                place.replica == asked.replica
                and place.location == location
                and place.workload.scope == asked.workload_scope
            ):
                self._resources.require(principal, "connect", place.workload)
                handle = place.handle_of(asked.container)
                if handle is not None:
                    return handle
                raise ValueError(f"container {asked.container!r} does not run")
        raise ValueError(f"no replica {asked.replica!r} runs in {location}")


def read_request(text: str, org: str) -> Asked:
    """Read the first message of a client.

    Args:
        text: The message.
        org: Bare name of the organization.

    Raises:
        ValueError: It is not what the platform understands.
    """
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the request is not JSON: {error}") from error
    found = content if isinstance(content, dict) else {}
    if found.get("tty"):
        raise ValueError("the local platform serves no terminals: use exec without --tty")
    names = {name: found.get(name) for name in ("token", "org", "gvc", "pod", "container")}
    wrong = [name for name, value in names.items() if not isinstance(value, str) or not value]
    if wrong:
        raise ValueError(f"the request lacks {', '.join(wrong)}")
    if names["org"] != org:
        raise ValueError(f"org {names['org']!r} was not found")
    return Asked(
        token=str(names["token"]),
        workload_scope=collection_link(org, "workload", str(names["gvc"])),
        replica=str(names["pod"]),
        container=str(names["container"]),
        command=_read_command(found.get("command")),
    )


def _read_command(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not 0 < len(given) <= _WORDS_LIMIT:
        raise ValueError(f"the command must have 1 to {_WORDS_LIMIT} words")
    words = [word for word in given if isinstance(word, str) and "\0" not in word]
    if len(words) != len(given):
        raise ValueError("the command must consist of strings")
    return tuple(words)


async def _run(websocket: WebSocket, handle: Handle, command: tuple[str, ...]) -> None:
    """Run a command, and pass on its output while it runs."""
    output = _Output()
    running = asyncio.ensure_future(handle.execute(command, output.take))
    running.add_done_callback(lambda _: output.end())
    try:
        async for part in output:
            await websocket.send_text(part)
        code = await running
    except OSError as error:
        await websocket.send_text(f"{_FAILED}{error}")
        return
    finally:
        running.cancel()
        await asyncio.wait([running])
    if code:
        await websocket.send_text(f"{_FAILED}command terminated with exit code {code}")


async def _until_gone(websocket: WebSocket, work: Coroutine[None, None, None]) -> None:
    """Do some work, unless the client closes the connection before it is done."""
    working = asyncio.ensure_future(work)
    reading = asyncio.ensure_future(_gone(websocket))
    try:
        await asyncio.wait([working, reading], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise WebSocketDisconnect
        await working
    finally:
        for task in (working, reading):
            task.cancel()
        await asyncio.wait([working, reading])


async def _gone(websocket: WebSocket) -> None:
    """Read what a client sends, which is input that no command gets, until it is gone."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


class _Output:
    """The lines of a command, in parts as large as the client reads them."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._size = 0
        self._is_cut = False
        self._ended = False
        self._awake = asyncio.Event()

    def take(self, lines: list[str]) -> None:
        """Take new lines; drop them while the client is too far behind."""
        self._size += sum(map(len, lines))
        if self._size > _WAITING_LIMIT:
            self._is_cut = True
        else:
            self._waiting += lines
        self._awake.set()

    def end(self) -> None:
        """Note that there will be no more."""
        self._ended = True
        self._awake.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        """Iterate over the parts."""
        while not (self._ended and not self._waiting):
            await self._awake.wait()
            self._awake.clear()
            lines, self._waiting, self._size = self._waiting, [], 0
            if lines:
                yield "".join(f"{line}\n" for line in lines)
            if self._is_cut:
                self._is_cut = False
                yield f"[more than {_WAITING_LIMIT} characters waited to be read; some are lost]\n"
