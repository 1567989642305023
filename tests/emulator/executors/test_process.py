import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import httpx
import pytest

from cpln_flows.emulator import Platform, PlatformConfig, ProcessExecutor
from cpln_flows.emulator.executors.supervised import SupervisedProcess
from tests.emulator.support import (
    AUTH,
    COMMANDS,
    FIXED,
    TOKEN,
    W1,
    WORKLOADS,
    run_body,
    stop_body,
    until,
    workload,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="finds processes through /proc"
    ),
]

# A child with a session of its own, whose parent is gone: what a process group does not reach.
RUNAWAY = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", sys.argv[1]])
    os._exit(0)
os.wait()
print("ready", flush=True)
"""


def seconds(number):
    """A length of sleep that only this test uses, by which its processes are found."""
    return f"{1000 + number}.{os.getpid()}"


def sleepers(marker):
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and marker.encode() in (folder / "cmdline").read_bytes().split(
                b"\0"
            ):
                found.append(int(folder.name))
    return found


def contents(folder):
    return list(folder.iterdir())


@contextlib.contextmanager
def emulator_with(environment):
    with subprocess.Popen(
        [sys.executable, "-c", SERVING, TOKEN], stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Here:
    """A platform whose jobs are processes, with a client."""

    def __init__(self, platform, client):
        self.platform, self.client = platform, client

    async def start(self, *words, env=(), containers=None, **container):
        first = {
            "name": "main",
            "image": "ubuntu",
            "command": words[0] if words else None,
            "args": list(words[1:]),
        }
        first = {key: value for key, value in first.items() if value} | container
        first["env"] = [{"name": name, "value": value} for name, value in env]
        document = workload(containers=[first, *(containers or [])])
        assert (await self.client.put(WORKLOADS, json=document)).status_code in (200, 201)
        response = await self.client.post(COMMANDS, json=run_body())
        return response.headers["location"]

    async def get(self, link):
        return (await self.client.get(link)).json()

    async def stage(self, link):
        return (await self.get(link))["lifecycleStage"]

    async def end(self, link):
        async def over():
            return await self.stage(link) in ("completed", "failed", "cancelled")

        await until(over)
        return await self.stage(link)

    async def lines(self):
        params = {"query": '{workload="w-1"}', "direction": "forward", "limit": "5000"}
        body = (
            await self.client.get("/logs/org/local/loki/api/v1/query_range", params=params)
        ).json()
        return [line for stream in body["data"]["result"] for _, line in stream["values"]]

    async def wrote(self, text):
        async def found():
            return text in await self.lines()

        await until(found)

    async def container(self, name="main"):
        status = (await self.get(f"{W1}/deployment/local-1"))["status"]
        return status["jobExecutions"][0]["containers"][name]

    async def stop(self, link):
        replica = (await self.get(link))["status"]["replica"]
        assert (await self.client.post(COMMANDS, json=stop_body(replica))).status_code == 201


@pytest.fixture
async def here(anyio_backend, tmp_path, monkeypatch, request):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    platform = Platform(
        PlatformConfig(token=TOKEN, stop_grace_seconds=getattr(request, "param", 0.3))
    )
    transport = httpx.ASGITransport(app=platform.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://local", headers=AUTH
    ) as client:
        yield Here(platform, client)
    await platform.aclose()
    assert contents(tmp_path) == []


async def test_what_has_written_a_line_runs_although_its_start_was_not_reported_yet(
    here, monkeypatch
):
    reported = SupervisedProcess._reported
    monkeypatch.setattr(
        SupervisedProcess,
        "_reported",
        lambda self, line: None if line == "started" else reported(self, line),
    )
    link = await here.start("sh", "-c", "echo said; exec sleep 600")
    await here.wrote("said")
    assert await here.stage(link) == "running"


async def test_the_output_becomes_lines_of_both_streams(here):
    link = await here.start("sh", "-c", "echo out; echo err >&2; printf unfinished")
    assert await here.end(link) == "completed"
    assert sorted(await here.lines()) == ["err", "out", "unfinished"]


async def test_our_interpreter_runs_python_and_its_lines_come_live(here):
    program = "import sys, time; print(sys.executable); time.sleep(600)"
    await here.start("python", "-c", program)
    await here.wrote(sys.executable)


@pytest.mark.parametrize(
    ("program", "stage", "code", "reason"),
    [
        ("exit 0", "completed", 0, "Completed"),
        ("exit 7", "failed", 7, "Error"),
        ("kill -9 $$", "failed", 137, "Error"),
        ("kill -SEGV $$", "failed", 139, "Error"),
    ],
)
async def test_exit_codes_become_stages(here, program, stage, code, reason):
    assert await here.end(await here.start("sh", "-c", program)) == stage
    assert (await here.container())["restarts"] == {"exitCode": code, "reason": reason, "count": 0}


async def test_the_environment_is_a_containers_and_not_the_users(here, monkeypatch):
    monkeypatch.setenv("A_USERS_OWN", "secret")
    link = await here.start(
        "sh", "-c", 'env; test -d "$HOME" && test -d "$TMPDIR" && cd && pwd', env=[("MINE", "1")]
    )
    assert await here.end(link) == "completed"
    found = dict(line.split("=", 1) for line in await here.lines() if "=" in line)
    assert found["MINE"] == "1"
    assert found["CPLN_ENDPOINT"] == "http://local"
    assert found["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert "A_USERS_OWN" not in found
    assert "PYTHONUNBUFFERED" not in found
    assert contents(Path(found["HOME"]).parent) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(
            ("no-such-program",), "executable file not found in $PATH", id="missing-program"
        ),
        pytest.param(("/no/such/program",), "no such file or directory", id="missing-path"),
        pytest.param(("/etc/passwd",), "permission denied", id="not-executable"),
        pytest.param(
            ("python -m prefect.engine",),
            "executable file not found",
            id="command-is-one-executable",
        ),
        pytest.param((), "no command is given", id="no-command"),
    ],
)
async def test_a_program_that_cannot_be_started_is_a_start_error(here, words, says):
    link = await here.start(*words)
    assert await here.end(link) == "failed"
    container = await here.container()
    assert says in container["message"]
    assert container["restarts"] == {"exitCode": 128, "reason": "StartError", "count": 0}


async def test_without_a_command_the_first_argument_is_run(here):
    link = await here.start(args=["echo", "from the arguments"])
    assert await here.end(link) == "completed"
    assert await here.lines() == ["from the arguments"]


async def test_the_working_folder_is_used_where_it_exists_and_missed_in_a_message(
    here, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("work")
    assert await here.end(await here.start("pwd", workingDir=str(folder))) == "completed"
    assert await here.lines() == [str(folder)]
    link = await here.start("true", workingDir="/no/such/folder")
    assert await here.end(link) == "completed"
    assert (
        "workingDir '/no/such/folder' does not exist"
        in (await here.get(link))["status"]["messages"][0]
    )


async def test_a_sidecar_keeps_the_run_going_until_it_is_stopped(here):
    side = {"name": "side", "image": "ubuntu", "command": "sleep", "args": [seconds(1)]}
    link = await here.start("true", containers=[side])

    async def main_ended():
        executions = (await here.get(f"{W1}/deployment/local-1"))["status"]["jobExecutions"]
        return bool(executions) and "restarts" in executions[0]["containers"]["main"]

    await until(main_ended)
    assert await here.stage(link) == "running"
    await here.stop(link)
    assert await here.end(link) == "failed"
    assert (await here.container())["restarts"]["exitCode"] == 0
    assert (await here.container("side"))["restarts"]["exitCode"] == 143


@pytest.mark.parametrize("here", [600], indirect=True, ids=["a-long-grace"])
async def test_a_stop_right_after_the_start_reaches_the_first_process(here):
    """The supervisor may read the stop together with what it shall run."""
    link = await here.start("sleep", seconds(8))

    async def has_replica():
        return "replica" in (await here.get(link))["status"]

    await until(has_replica)
    await here.stop(link)
    await here.end(link)
    assert (await here.container())["restarts"]["exitCode"] == 128 + signal.SIGTERM


async def test_a_stop_is_sigterm_to_the_first_process_only(here):
    program = textwrap.dedent("""
        import signal, subprocess, sys
        def stop(*_):
            print("asked to stop", flush=True)
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        script = "trap 'echo child heard' TERM; echo ready; while :; do sleep 0.05; done"
        child = subprocess.Popen(["sh", "-c", script])
        child.wait()
    """)
    link = await here.start("python", "-c", program)
    await here.wrote("ready")
    await here.stop(link)
    assert await here.end(link) == "failed"
    assert await here.lines() == ["ready", "asked to stop"]


async def test_after_the_grace_the_whole_tree_is_killed_whatever_its_session(here):
    marker = seconds(2)
    program = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + RUNAWAY + "time.sleep(600)"
    )
    link = await here.start("python", "-c", program, marker)
    await here.wrote("ready")
    assert sleepers(marker)
    await here.stop(link)
    assert await here.end(link) == "failed"
    assert (await here.container())["restarts"]["exitCode"] == 137
    assert sleepers(marker) == []


async def test_what_the_first_process_leaves_behind_is_killed_at_its_end(here):
    marker = seconds(3)
    link = await here.start("python", "-c", RUNAWAY, marker)
    assert await here.end(link) == "completed"
    assert sleepers(marker) == []


async def test_a_deadline_and_a_deletion_kill_the_processes(here):
    marker = seconds(4)
    body = run_body(
        overrides=[{"name": "main", "command": "sleep", "args": [marker]}], activeDeadlineSeconds=1
    )
    await here.client.put(WORKLOADS, json=workload())
    link = (await here.client.post(COMMANDS, json=body)).headers["location"]
    assert await here.end(link) == "failed"
    assert sleepers(marker) == []
    await here.start("sleep", marker)

    async def running():
        return len(sleepers(marker)) == 1

    await until(running)
    await here.client.delete(W1)

    async def gone():
        return not sleepers(marker)

    await until(gone)


async def test_closing_the_platform_kills_every_job(here):
    marker = seconds(5)
    await here.start("python", "-c", RUNAWAY + "time.sleep(600)", marker)
    await here.wrote("ready")
    await here.platform.aclose()
    assert sleepers(marker) == []


async def test_many_jobs_at_once_do_not_disturb_one_another(here):
    await here.client.put(WORKLOADS, json=workload())
    bodies = [
        run_body(
            overrides=[
                {
                    "name": "main",
                    "command": "sh",
                    "args": ["-c", f"echo job {number}; exit {number % 2}"],
                }
            ]
        )
        for number in range(8)
    ]
    links = [
        response.headers["location"]
        for response in [await here.client.post(COMMANDS, json=body) for body in bodies]
    ]
    stages = await asyncio.gather(*(here.end(link) for link in links))
    assert stages == ["completed", "failed"] * 4
    assert sorted(await here.lines()) == [f"job {number}" for number in range(8)]


async def test_a_burst_of_lines_arrives_whole_and_in_order(here):
    here.platform.switch(log_rate_limit=None)
    assert await here.end(await here.start("seq", "1", "4000")) == "completed"
    assert await here.lines() == [str(number) for number in range(1, 4001)]


async def test_the_search_path_can_be_given(anyio_backend, tmp_path):
    (tmp_path / "mine").write_text("#!/bin/sh\n/bin/echo found\n")
    (tmp_path / "mine").chmod(0o755)
    platform = Platform(FIXED, executor=ProcessExecutor(path=[str(tmp_path)]))
    transport = httpx.ASGITransport(app=platform.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://local", headers=AUTH
    ) as client:
        found = Here(platform, client)
        assert await found.end(await found.start("mine")) == "completed"
        assert await found.lines() == ["found"]
    await platform.aclose()


SERVING = """
import sys, threading
from cpln_flows.emulator import Platform, PlatformConfig, serve_in_thread
with serve_in_thread(Platform(PlatformConfig(token=sys.argv[1]))) as running:
    print(running.url, flush=True)
    threading.Event().wait()
"""


async def test_nothing_survives_the_death_of_the_emulator(tmp_path):
    marker = seconds(6)
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    with emulator_with(environment) as emulator:
        url = emulator.stdout.readline().strip()
        async with httpx.AsyncClient(base_url=url, headers=AUTH) as client:
            found = Here(None, client)
            await found.start("python", "-c", RUNAWAY + "time.sleep(600)", marker)
            await found.wrote("ready")

            async def running():
                return len(sleepers(marker)) == 2

            await until(running)
        assert contents(tmp_path) != []
        emulator.send_signal(signal.SIGKILL)

    async def gone():
        return not sleepers(marker) and not contents(tmp_path)

    await until(gone)


async def test_the_death_of_a_supervisor_ends_its_container(here):
    marker = seconds(7)
    link = await here.start("sleep", marker)

    async def running():
        return len(sleepers(marker)) == 1

    await until(running)
    stat = (Path("/proc") / str(sleepers(marker)[0]) / "stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
    assert await here.end(link) == "failed"
    assert "supervises the container is gone" in (await here.container())["message"]
    assert sleepers(marker) == []
