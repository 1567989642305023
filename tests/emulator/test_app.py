import asyncio
import re
from pathlib import Path

import httpx
import pytest

import cpln_flows.emulator
from cpln_flows.emulator import Platform, PlatformConfig, Script

from .support import AUTH, COMMANDS, TOKEN, W1, local, run_body, stop_body, workload

pytestmark = pytest.mark.anyio


async def test_the_python_side_shows_what_clients_did():
    async with local(Script(())) as here:
        await here.create()
        await here.create(workload("w-2"))
        link = await here.start()
        assert [each["name"] for each in here.platform.workloads()] == ["w-1", "w-2"]
        assert [each["lifecycleStage"] for each in here.platform.commands("w-1")] == ["running"]
        assert here.platform.commands("w-2") == []
        assert here.platform.active_jobs == [f"command-{link.rsplit('/', 1)[1]}"]
        assert [each["name"] for each in here.platform.objects("gvc")] == ["quickstart"]
        assert here.platform.connections == 0
        assert here.platform.requests[0].connection is None
        await here.platform.aclose()
        assert here.platform.active_jobs == []


async def test_a_busy_client_in_process_does_not_hold_up_the_jobs():
    async with local() as here:
        await here.create()
        link = (await here.client.post(COMMANDS, json=run_body())).headers["location"]
        stages = [await here.stage(link) for _ in range(10)]
        assert stages[-1] == "completed"


async def test_two_platforms_know_nothing_of_each_other():
    async with local() as here, local() as other:
        await here.create()
        assert (await other.client.get(W1)).status_code == 404


async def test_a_platform_copies_its_configuration():
    config = PlatformConfig()
    Platform(config).switch(page_size=1)
    assert config.page_size == 100


@pytest.mark.parametrize("final", ["failed", "cancelled"])
async def test_the_final_stage_can_be_switched_while_it_runs(final):
    async with local(Script(())) as here:
        here.platform.switch(final_stage_after_stop=final)
        await here.create()
        link = await here.start()
        await here.client.post(
            COMMANDS, json=stop_body((await here.get(link))["status"]["replica"])
        )
        await here.settle()
        await here.advance(0.1)
        assert await here.stage(link) == final


async def test_ten_thousand_commands_are_listed_and_found():
    async with local(Script(()), page_size=1000) as here:
        await here.create()
        workload_record = here.platform._parts.store.get(W1)
        commands = here.platform._parts.lifecycle._commands
        for number in range(10_000):
            commands.create(workload_record, run_body({"number": number}), {})
        found, following = 0, COMMANDS
        while following:
            body = await here.get(following)
            found += len(body["items"])
            following = next(
                (link["href"] for link in body["links"] if link["rel"] == "next"), None
            )
        assert found == 10_000
        query = {"spec": {"terms": [{"tag": "number", "value": "7777"}]}}
        assert len((await here.client.post(f"{COMMANDS}/-query", json=query)).json()["items"]) == 1


async def test_a_caller_who_gives_up_in_process_is_let_go():
    async with local(latency_seconds=60) as here:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.client.get("/org/local"), 0.02)


async def test_the_application_answers_a_servers_start_and_end():
    sent = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await Platform().app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_base_url_is_the_one_that_was_used():
    platform = Platform(PlatformConfig(token=TOKEN, hosts=("api.cpln.io",)))
    transport = httpx.ASGITransport(app=platform.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api.cpln.io", headers=AUTH
    ) as client:
        assert (await client.get("/discovery")).json()["endpoints"]["logs"] == "http://api.cpln.io"
    await platform.aclose()


def test_the_emulator_imports_nothing_of_the_rest_of_the_package():
    folder = Path(cpln_flows.emulator.__file__).parent
    imports = re.compile(
        r"^\s*(?:from|import) (cpln_flows[.\w]*|prefect\w*|httpx|websockets)", re.MULTILINE
    )
    found = {name for path in folder.rglob("*.py") for name in imports.findall(path.read_text())}
    assert {name for name in found if not name.startswith("cpln_flows.emulator")} == set()
