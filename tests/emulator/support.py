"""What the emulator's tests share: a platform with a client, and documents to send."""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator

import httpx

from cpln_flows.emulator import ManualClock, Platform, PlatformConfig, Script, ScriptedExecutor
from tests.patience import PATIENCE_SECONDS

GVC = "/org/local/gvc/quickstart"
WORKLOADS = f"{GVC}/workload"
W1 = f"{WORKLOADS}/w-1"
COMMANDS = f"{W1}/-command"
RANGE = "/logs/org/local/loki/api/v1/query_range"
TAIL = "/logs/org/local/loki/api/v1/tail"
TOKEN = "s.test"
AUTH = {"authorization": f"Bearer {TOKEN}"}
FIXED = PlatformConfig(token=TOKEN)

WORKLOAD = {
    "name": "w-1",
    "tags": {"cpln/createdByPrefect": "true"},
    "spec": {
        "type": "cron",
        "containers": [
            {
                "name": "main",
                "image": "ubuntu:latest",
                "command": "true",
                "env": [{"name": "B", "value": "1"}],
            }
        ],
        "job": {"schedule": "* * * * *"},
        "defaultOptions": {"suspend": True},
    },
}


def workload(name="w-1", **spec):
    document = copy.deepcopy(WORKLOAD)
    document["name"] = name
    document["spec"].update(spec)
    return document


def run_body(tags=None, overrides=(), **spec):
    return {
        "type": "runCronWorkload",
        "tags": tags or {},
        "spec": {"location": "local-1", "containerOverrides": list(overrides), **spec},
    }


def stop_body(replica, location="local-1"):
    return {"type": "stopReplica", "spec": {"location": location, "replica": replica}}


class Local:
    """A platform in process, with a client; its clock stands still and its jobs follow a script."""

    def __init__(self, platform: Platform, client: httpx.AsyncClient) -> None:
        self.platform = platform
        self.client = client

    async def create(self, document=None):
        response = await self.client.post(WORKLOADS, json=document or WORKLOAD)
        assert response.status_code == 201, response.text
        return response.headers["location"]

    async def start(self, link=W1, **arguments):
        response = await self.client.post(f"{link}/-command", json=run_body(**arguments))
        assert response.status_code == 201, response.text
        await self.settle()
        return response.headers["location"]

    async def get(self, link):
        response = await self.client.get(link)
        assert response.status_code == 200, response.text
        return response.json()

    async def stage(self, link):
        return (await self.get(link))["lifecycleStage"]

    async def deployment(self, link=W1, location="local-1"):
        return (await self.get(f"{link}/deployment/{location}"))["status"]

    async def advance(self, seconds):
        self.platform.clock.advance(seconds)
        await self.settle()

    async def settle(self):
        for _ in range(5):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def local(script=None, token=TOKEN, clock=None, **config) -> AsyncIterator[Local]:
    executor = ScriptedExecutor(script or Script())
    platform = Platform(
        PlatformConfig(seed=1, token=token, **config),
        clock=clock or ManualClock(),
        executor=executor,
    )
    transport = httpx.ASGITransport(app=platform.app)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://local", headers=headers
    ) as client:
        try:
            yield Local(platform, client)
        finally:
            await platform.aclose()


async def until(ready, seconds=PATIENCE_SECONDS):
    """Wait for something that a real process brings about."""
    async with asyncio.timeout(seconds):
        while not await ready():  # noqa: ASYNC110 - what happens in another process sets no event here
            await asyncio.sleep(0.01)
