"""Lifecycle hooks: in which order they run, and what a failure of one does."""

import asyncio
import contextlib
import tempfile

import httpx
import pytest

from cpln_flows.emulator import Platform, PlatformConfig
from cpln_flows.emulator.executors.base import Container, RunSpec
from cpln_flows.emulator.executors.hooks import start_with_hooks
from tests.emulator.support import (
    AUTH,
    COMMANDS,
    TOKEN,
    W1,
    WORKLOADS,
    run_body,
    stop_body,
    until,
    workload,
)

pytestmark = pytest.mark.anyio

RUN = RunSpec("w", "g", "o", "l", "n", None, "r", {}, ())


class FakeContainer:
    """An executor, the handle of its only container, and the platform: notes what happens."""

    def __init__(self, code=0, *, is_early=True):
        self.code, self.is_early = code, is_early
        self.happened = []
        self.may_end = asyncio.Event()

    def start(self, run, container, events):
        self.events = events
        if self.is_early:
            events.started()
        return self

    def terminate(self):
        self.happened.append("SIGTERM")

    def kill(self):
        self.happened.append("SIGKILL")
        self.events.ended(137, "Error", "killed")

    async def wait_gone(self):
        self.happened.append("gone")

    async def execute(self, command, wrote):
        self.happened.append(command[0])
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.happened.append(f"{command[0]} canceled")
            raise
        wrote(["output of it"])
        if self.code is None:
            raise ProcessLookupError("no such program")
        self.happened.append(f"{command[0]} ended")
        return self.code

    # As the platform

    def started_(self):
        self.happened.append("started")

    def ended_(self, code, reason, message):
        self.happened.append((code, reason, message))

    def note(self, message):
        self.happened.append(message)

    waiting = never_placed = wrote = note


class Seen:
    """What the platform is told."""

    def __init__(self, fake):
        self.started, self.ended, self.note = fake.started_, fake.ended_, fake.note
        self.waiting = self.never_placed = self.wrote = fake.note


def begun(fake, post_start=(), pre_stop=()):
    container = Container("main", "any", post_start=post_start, pre_stop=pre_stop)
    return start_with_hooks(fake, RUN, container, Seen(fake))


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("is_early", [True, False])
async def test_start_counts_after_post_start(is_early) -> None:
    fake = FakeContainer(is_early=is_early)
    begun(fake, post_start=("post",))
    if not is_early:
        fake.events.started()
    await settle()
    assert fake.happened == ["post"]
    fake.may_end.set()
    await settle()
    assert fake.happened == ["post", "post ended", "started"]


@pytest.mark.parametrize(
    ("code", "reason"), [(3, "exit code 3: output of it"), (None, "the command cannot be run")]
)
async def test_failed_post_start_kills_the_container(code, reason) -> None:
    fake = FakeContainer(code)
    fake.may_end.set()
    begun(fake, post_start=("post",))
    await settle()
    kill, (exit_code, word, message) = fake.happened[-2:]
    assert (kill, exit_code, word) == ("SIGKILL", 137, "PostStartHookError")
    assert message.startswith(f"the postStart hook failed: {reason}")
    assert "started" not in fake.happened


async def test_container_may_end_during_post_start() -> None:
    fake = FakeContainer()
    begun(fake, post_start=("post",))
    await settle()
    fake.events.ended(0, "Completed", "")
    await settle()
    assert fake.happened == ["post", "started", (0, "Completed", ""), "post canceled"]


@pytest.mark.parametrize("code", [0, 1])
async def test_pre_stop_runs_before_sigterm(code) -> None:
    fake = FakeContainer(code)
    handle = begun(fake, pre_stop=("pre",))
    handle.terminate()
    await settle()
    handle.terminate()
    await settle()
    assert fake.happened == ["started", "pre"]
    fake.may_end.set()
    await settle()
    notes = ["container main: the preStop hook failed: exit code 1: output of it"] if code else []
    assert fake.happened == ["started", "pre", "pre ended", *notes, "SIGTERM"]
    handle.terminate()
    assert fake.happened.count("pre") == 1
    assert fake.happened[-2:] == ["SIGTERM", "SIGTERM"]


async def test_kill_ends_a_pre_stop_hook() -> None:
    fake = FakeContainer()
    handle = begun(fake, pre_stop=("pre",))
    handle.terminate()
    await settle()
    handle.kill()
    await handle.wait_gone()
    assert "pre canceled" in fake.happened
    assert "SIGTERM" not in fake.happened
    assert fake.happened[-1] == "gone"


async def test_container_that_never_ran_has_no_pre_stop() -> None:
    fake = FakeContainer(is_early=False)
    begun(fake, pre_stop=("pre",)).terminate()
    await settle()
    assert fake.happened == ["SIGTERM"]


async def test_container_without_hooks_is_left_alone() -> None:
    fake = FakeContainer()
    assert begun(fake) is fake


# As processes

MAIN = """
import pathlib, signal, sys, time
def stop(*_):
    print("stopped:", pathlib.Path("pre-stop").exists(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
while not pathlib.Path("post-start").exists():
    time.sleep(0.01)
print("greeted", flush=True)
while True:
    time.sleep(0.05)
"""
TOUCH = "import pathlib; pathlib.Path('{}').touch()"


def hook(script):
    return {"exec": {"command": ["python", "-c", script]}}


@contextlib.asynccontextmanager
async def processes(lifecycle, tmp_path, monkeypatch, **config):
    """A platform and its client, with a run of a container that has hooks."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    platform = Platform(PlatformConfig(token=TOKEN, **config))
    transport = httpx.ASGITransport(app=platform.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://local", headers=AUTH
    ) as client:
        document = workload()
        document["spec"]["containers"][0] |= {
            "command": "python",
            "args": ["-c", MAIN],
            "lifecycle": lifecycle,
        }
        assert (await client.post(WORKLOADS, json=document)).status_code == 201
        command = (await client.post(COMMANDS, json=run_body())).headers["location"]
        try:
            yield client, command
        finally:
            await platform.aclose()


async def lines(client):
    params = {"query": '{workload="w-1"}', "direction": "forward"}
    answer = await client.get("/logs/org/local/loki/api/v1/query_range", params=params)
    return [line for each in answer.json()["data"]["result"] for _, line in each["values"]]


async def ended(client, command):
    async def over():
        return (await client.get(command)).json()["lifecycleStage"] in ("completed", "failed")

    await until(over)
    return (await client.get(command)).json()


async def stop(client, command):
    replica = (await client.get(command)).json()["status"]["replica"]
    assert (await client.post(COMMANDS, json=stop_body(replica))).status_code == 201


async def test_hooks_of_a_run_share_its_folder(tmp_path, monkeypatch) -> None:
    lifecycle = {
        "postStart": hook(TOUCH.format("post-start")),
        "preStop": hook(TOUCH.format("pre-stop")),
    }
    async with processes(lifecycle, tmp_path, monkeypatch, stop_grace_seconds=60) as (
        client,
        command,
    ):
        await until(lambda: _said(client, "greeted"))
        await stop(client, command)
        await ended(client, command)
        assert await lines(client) == ["greeted", "stopped: True"]
    assert not list(tmp_path.iterdir())


async def test_failed_post_start_fails_a_run(tmp_path, monkeypatch) -> None:
    lifecycle = {"postStart": hook("raise SystemExit('not today')")}
    async with processes(lifecycle, tmp_path, monkeypatch) as (client, command):
        found = await ended(client, command)
        assert found["lifecycleStage"] == "failed"
        assert "PostStartHookError: the postStart hook failed" in found["status"]["messages"][-1]
        execution = (await client.get(f"{W1}/deployment/local-1")).json()["status"]
        state = execution["jobExecutions"][0]["containers"]["main"]
        assert state["restarts"]["reason"] == "PostStartHookError"
    assert not list(tmp_path.iterdir())


async def test_grace_counts_from_the_beginning_of_pre_stop(tmp_path, monkeypatch) -> None:
    lifecycle = {
        "postStart": hook(TOUCH.format("post-start")),
        "preStop": hook("import time; time.sleep(1000)"),
    }
    async with processes(lifecycle, tmp_path, monkeypatch, stop_grace_seconds=0.3) as (
        client,
        command,
    ):
        await until(lambda: _said(client, "greeted"))
        await stop(client, command)
        assert (await ended(client, command))["lifecycleStage"] == "failed"
        assert await lines(client) == ["greeted"]
    assert not list(tmp_path.iterdir())


async def _said(client, line):
    return line in await lines(client)
