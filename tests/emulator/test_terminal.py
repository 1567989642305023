"""Commands in containers over a WebSocket, asked as the vendor's command line asks."""

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cpln_flows.emulator import (
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
    Server,
)
from cpln_flows.emulator.terminal import read_request
from tests.emulator.support import TOKEN, WORKLOADS, until, workload

pytestmark = pytest.mark.anyio

OTHER = "s.other"
REQUEST = {
    "requestVersion": "v4",
    "token": TOKEN,
    "org": "local",
    "gvc": "quickstart",
    "pod": "w-1-0",
    "container": "main",
    "command": ["ls", "-l"],
}


@pytest.fixture
async def url(anyio_backend):
    """The address for commands of a platform with a stateful workload."""
    config = PlatformConfig(
        token=TOKEN, tokens={TOKEN: "/org/local/group/superusers", OTHER: "/org/local/user/nobody"}
    )
    platform = Platform(config, executor=ScriptedExecutor(Script(steps=())))
    document = workload(type="stateful", defaultOptions={"autoscaling": {"minScale": 1}})
    del document["spec"]["job"]
    async with Server(platform) as server:
        try:
            async with httpx.AsyncClient(
                base_url=server.url, headers={"authorization": TOKEN}, trust_env=False
            ) as client:
                answer = await client.post(WORKLOADS, json=document)
                assert answer.status_code == 201, answer.text
            await until(lambda: asyncio.sleep(0, bool(platform.running())))
            yield f"{server.url.replace('http', 'ws', 1)}/location/local-1/exec"
        finally:
            await platform.aclose()


async def said(url, first, origin="http://localhost"):
    """All that the platform sends until it closes the connection."""
    found = []
    async with connect(url, origin=origin, proxy=None) as websocket:
        await websocket.send(first)
        try:
            while True:
                found.append(await websocket.recv())
        except ConnectionClosed:
            return "".join(found)


async def test_output_of_a_command_is_sent(url) -> None:
    assert await said(url, json.dumps(REQUEST)) == "ls -l\n"


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"token": "s.wrong"}, "Unauthorized: authentication failed"),
        ({"token": OTHER}, 'Unauthorized: the operation requires permission "connect"'),
        ({"pod": "w-1-7"}, "no replica 'w-1-7' runs in local-1"),
        ({"gvc": "another"}, "no replica 'w-1-0' runs in local-1"),
        ({"container": "other"}, "container 'other' does not run"),
        ({"org": "another"}, "org 'another' was not found"),
        ({"command": []}, "the command must have 1 to 256 words"),
        ({"command": ["a", 1]}, "the command must consist of strings"),
        ({"command": ["a\0"]}, "the command must consist of strings"),
        ({"tty": True}, "serves no terminals"),
        ({"pod": None, "gvc": ""}, "the request lacks gvc, pod"),
    ],
)
async def test_faulty_request_is_answered_with_its_fault(url, change, answer) -> None:
    assert answer in await said(url, json.dumps(REQUEST | change))


@pytest.mark.parametrize("text", ["{", "[]", "null", "5"])
async def test_message_that_is_no_request_is_refused(url, text) -> None:
    assert "Failed to create terminal session: the request" in await said(url, text)


def test_request_is_read_with_its_words() -> None:
    asked = read_request(json.dumps(REQUEST), "local")
    assert (asked.replica, asked.container, asked.command) == ("w-1-0", "main", ("ls", "-l"))
    assert asked.workload_scope == WORKLOADS
    assert TOKEN not in repr(asked)
