"""Folders of volumesets: they outlive jobs and platforms, and go with their volumeset."""

import asyncio
import contextlib
import threading
from pathlib import Path

import httpx
import pytest

from cpln_flows.emulator import Platform, PlatformConfig, ProcessExecutor, StateFolder
from cpln_flows.emulator.executors.volumesets import Volumesets
from tests.emulator.support import GVC, run_body, until, workload

pytestmark = pytest.mark.anyio

SHARED = {"fileSystemType": "shared", "performanceClass": "shared", "initialCapacity": 10}
VOLUME = {"uri": "cpln://volumeset/data", "path": "/data"}


class Here:
    """A platform whose jobs are processes that mount the volumeset, with a client."""

    def __init__(self, platform, client, gvc) -> None:
        self.platform, self.client, self.gvc = platform, client, gvc

    async def create(self):
        document = {"name": "data", "spec": SHARED}
        response = await self.client.put(f"{self.gvc}/volumeset", json=document)
        assert response.status_code in (200, 201), response.text

    async def delete(self):
        assert (await self.client.delete(f"{self.gvc}/volumeset/data")).status_code == 202

    async def run(self, script, *volumes):
        """Run a job to its end, delete its workload, and return its stage."""
        container = {
            "name": "main",
            "image": "busybox",
            "command": "sh",
            "args": ["-c", script],
            "volumes": [VOLUME, *volumes],
        }
        workloads = f"{self.gvc}/workload"
        response = await self.client.put(workloads, json=workload(containers=[container]))
        assert response.status_code == 201, response.text
        started = await self.client.post(f"{workloads}/w-1/-command", json=run_body())
        link = started.headers["location"]

        async def over():
            found = (await self.client.get(link)).json()["lifecycleStage"]
            return found in ("completed", "failed")

        await until(over)
        stage = (await self.client.get(link)).json()["lifecycleStage"]
        assert (await self.client.delete(f"{workloads}/w-1")).status_code == 202
        return stage


@contextlib.asynccontextmanager
async def processes(state=None, gvc="quickstart", executor=None):
    platform = Platform(
        PlatformConfig(gvc=gvc, delete_delay_seconds=0),
        executor=executor or ProcessExecutor(),
        state=None if state is None else StateFolder(state),
    )
    platform.start()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=platform.app),
        base_url="http://local",
        headers={"authorization": platform.token},
    ) as client:
        try:
            yield Here(platform, client, f"/org/local/gvc/{gvc}")
        finally:
            await platform.aclose()


async def test_files_of_a_job_are_there_in_the_next_run(tmp_path):
    async with processes(tmp_path) as here:
        await here.create()
        assert await here.run("echo kept > /data/note") == "completed"
    files = [path for path in (tmp_path / "volumes/quickstart/data").rglob("*") if path.is_file()]
    assert [path.read_text() for path in files] == ["kept\n"]
    async with processes(tmp_path) as here:
        assert await here.run("grep kept /data/note") == "completed"


@pytest.mark.parametrize("is_kept", [True, False], ids=["state", "temporary"])
async def test_folder_goes_with_its_volumeset(is_kept, tmp_path):
    executor = ProcessExecutor()
    async with processes(tmp_path if is_kept else None, executor=executor) as here:
        await here.create()
        assert await here.run("echo old > /data/note") == "completed"
        folder = executor.volumesets.folder("local", "quickstart")
        assert (folder / "data").is_dir()
        await here.delete()

        async def is_empty():
            return list(folder.iterdir()) == []

        await until(is_empty)
        await here.create()
        assert await here.run("test ! -e /data/note") == "completed"


async def test_folder_goes_with_the_gvc_of_its_volumeset(tmp_path):
    async with processes(tmp_path) as here:
        await here.create()
        assert await here.run("echo old > /data/note") == "completed"
        assert (await here.client.delete(GVC)).status_code == 202
        assert not (tmp_path / "volumes/quickstart/data").exists()


async def test_volumesets_of_a_gvc_named_like_scratch_space_stay():
    async with processes(gvc="my-scratch") as here:
        await here.create()
        scratch = {"uri": "scratch://tmp", "path": "/work"}
        assert await here.run("echo kept > /data/note", scratch) == "completed"
        assert await here.run("grep kept /data/note") == "completed"


async def test_folder_can_be_given_to_the_executor(tmp_path):
    executor = ProcessExecutor(volumesets=tmp_path)
    async with processes(executor=executor) as here:
        await here.create()
        assert await here.run("echo kept > /data/note") == "completed"
    assert (tmp_path / "local/quickstart/data").is_dir()


def test_temporary_folder_is_created_when_needed_and_goes_with_its_holder():
    volumesets = Volumesets()
    volumesets.delete("acme", "main", "data")
    assert volumesets._root is None
    folder = volumesets.folder("acme", "main")
    (folder / "data").mkdir(parents=True)
    (folder / "other").mkdir()
    volumesets.delete("acme", "main", "data")
    volumesets.delete("acme", "main", "data")
    assert [path.name for path in folder.iterdir()] == ["other"]
    root = volumesets._root
    del volumesets
    assert not root.exists()


def test_what_a_crash_left_of_a_deletion_is_removed(tmp_path):
    (tmp_path / "main" / "data").mkdir(parents=True)
    (tmp_path / "main" / ".deleted-1" / "in").mkdir(parents=True)
    Volumesets().keep("acme", tmp_path)
    assert [path.name for path in (tmp_path / "main").iterdir()] == ["data"]


def test_organizations_share_no_volumeset(tmp_path):
    volumesets = Volumesets(tmp_path)
    assert volumesets.folder("acme", "main") != volumesets.folder("other", "main")
    volumesets.keep("acme", tmp_path / "kept")
    assert volumesets.folder("acme", "main") == tmp_path / "kept" / "main"
    assert volumesets.folder("other", "main") == Path(tmp_path, "other", "main")


async def test_files_are_deleted_beside_the_event_loop(tmp_path, monkeypatch):
    volumesets = Volumesets(tmp_path)
    (tmp_path / "acme/main/data").mkdir(parents=True)
    begun, threads = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def delete(folder, ignore_errors):
        threads.append(threading.get_ident())
        loop.call_soon_threadsafe(begun.set)

    monkeypatch.setattr("cpln_flows.emulator.executors.volumesets.shutil.rmtree", delete)
    volumesets.delete("acme", "main", "data")
    await begun.wait()
    assert not (tmp_path / "acme/main/data").exists()
    assert threads != [threading.get_ident()]
