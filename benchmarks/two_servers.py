"""Kill one of two Prefect API servers and workers while jobs run: what is lost, doubled or open?

Usage: python benchmarks/two_servers.py [JOBS]      (50 unless given)

Needs Debian's packages ``postgresql`` and ``redis-server``, and ``pip install prefect-redis``. Uses
one PostgreSQL, one Redis, two API processes behind a round robin of this program, one process of
services, two workers and the local platform with 20 ms of latency.

Each job reports Running, prints 30 lines, one a second, and reports Completed, as the flow engine
does. With 15 jobs active, one API process and one worker get SIGKILL. When the jobs have ended,
``sync`` runs once. The program prints final states, jobs started, and the lines in Prefect's logs.
The exit code is 1 unless every run is Completed once, with each line once.
"""

from __future__ import annotations

import asyncio
import getpass
import importlib.util
import itertools
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

LINES = 30
ACTIVE_AT_THE_KILL = 15
LONGEST_SECONDS = 420
HEARTBEAT_SECONDS = 10
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)

# Reports for a flow in its container, without Prefect, so that fifty of them start at once on two
# cores. A request is repeated for 90 s, as by Prefect's own client.
ENGINE = f"""
import json, os, time, urllib.request

def report(state):
    flow_run = os.environ["PREFECT_API_URL"] + "/flow_runs/" + os.environ["PREFECT__FLOW_RUN_ID"]
    url = flow_run + "/set_state"
    body = json.dumps({{"state": {{"type": state.upper(), "name": state}}}}).encode()
    request = urllib.request.Request(url, body, {{"Content-Type": "application/json"}})
    for attempt in range(90):
        try:
            urllib.request.urlopen(request, timeout=10).read()
            return
        except OSError:
            time.sleep(1)
    raise SystemExit("Prefect's API did not answer")

report("Running")
for number in range({LINES}):
    print("line", number, flush=True)
    time.sleep(1)
report("Completed")
"""


def main(jobs: int) -> int:
    missing = _missing()
    if missing:
        print(f"not run: {missing}")
        return 2
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        folder = Path(home)
        os.environ |= {
            "PREFECT_HOME": f"{home}/prefect",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_LEVEL": "INFO",
        }
        database = stack.enter_context(_postgres(folder))
        redis = stack.enter_context(_redis(folder))
        servers = _servers(stack, folder, database, redis)
        os.environ["PREFECT_API_URL"] = (
            f"{stack.enter_context(_balanced([url for url, _ in servers]))}/api"
        )
        return _run(stack, folder, jobs, servers[0][1])


def _missing() -> str | None:
    if POSTGRES is None:
        return "PostgreSQL is not installed: there is no /usr/lib/postgresql"
    if shutil.which("redis-server") is None:
        return "redis-server is not on PATH"
    if importlib.util.find_spec("prefect_redis") is None:
        return "prefect-redis is not installed"
    return None


def _run(stack: ExitStack, folder: Path, jobs: int, api: subprocess.Popen[bytes]) -> int:
    from cpln_flows import sync
    from cpln_flows.emulator import Platform, PlatformConfig
    from cpln_flows.local import local_platform

    local = stack.enter_context(local_platform(Platform(PlatformConfig(latency_seconds=0.02))))
    os.environ |= local.environment
    deployment = _deployment()
    pace = {"PREFECT_WORKER_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS)}
    workers = [
        stack.enter_context(_process(_worker(name), folder / f"{name}.log", pace))
        for name in ("w1", "w2")
    ]
    runs = [_start(deployment) for _ in range(jobs)]
    _until(
        lambda: len(local.platform.active_jobs) >= min(ACTIVE_AT_THE_KILL, jobs),
        "jobs do not start",
    )
    api.kill()
    workers[0].kill()
    print(f"killed one API server and worker w1 with {len(local.platform.active_jobs)} active jobs")
    begun = time.perf_counter()
    _until(lambda: _open(runs) == 0, None)
    print(
        f"{jobs - _open(runs)} of {jobs} runs final {time.perf_counter() - begun:.0f} s after the"
        " kill"
    )
    # After three, a worker is offline; with the fourth, the other worker completes its logs.
    time.sleep(4 * HEARTBEAT_SECONDS)
    print(f"sync: {sync()}")
    return _report(runs, local.platform.commands())


def _report(runs: list[UUID], commands: list[dict[str, Any]]) -> int:
    states = Counter(_read(run).state_name for run in runs)
    started = Counter(command["tags"].get("prefect.io/flow-run-id") for command in commands)
    lines = [
        Counter(text.rsplit(" - ", 1)[-1] for text in _messages(run) if " - line " in text)
        for run in runs
    ]
    wanted = len(runs) * LINES
    distinct = sum(len(counter) for counter in lines)
    doubled = sum(counter.total() - len(counter) for counter in lines)
    more = sum(count - 1 for count in started.values())
    print(f"states: {', '.join(f'{count} {name}' for name, count in states.most_common())}")
    print(f"jobs: {sum(started.values())} started for {len(started)} runs, {more} doubled")
    print(f"lines: {distinct} of {wanted}, {wanted - distinct} lost, {doubled} doubled")
    return int(states["Completed"] != len(runs) or more > 0 or distinct != wanted or doubled > 0)


# Prefect


def _servers(
    stack: ExitStack, folder: Path, database: str, redis: str
) -> list[tuple[str, subprocess.Popen[bytes]]]:
    environment = _server_environment(database, redis)
    prefect = [sys.executable, "-m", "prefect", "server"]
    subprocess.run(
        [*prefect, "database", "upgrade", "-y"],
        env=os.environ | environment,
        check=True,
        capture_output=True,
    )
    found = []
    for number in (1, 2):
        port = _free_port()
        command = [*prefect, "start", "--host", "127.0.0.1", "--port", str(port), "--no-services"]
        process = stack.enter_context(_process(command, folder / f"api-{number}.log", environment))
        url = f"http://127.0.0.1:{port}"
        # One after the other: otherwise both would save Prefect's own block types at the same time,
        # and one of them would fail.
        _until(lambda url=url: _answers(f"{url}/api/ready"), f"{url} does not become ready")
        found.append((url, process))
    stack.enter_context(
        _process([*prefect, "services", "start"], folder / "services.log", environment)
    )
    return found


def _server_environment(database: str, redis: str) -> dict[str, str]:
    """Return what several servers need to act as one.

    Without the last five, they keep things to themselves.
    """
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_REDIS_MESSAGING_URL": f"{redis}/0",
        "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_SERVER_DOCKET_URL": f"{redis}/1",
        "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": f"{redis}/2",
    }


def _worker(name: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        "cpln",
        "--type",
        "cpln",
        "--name",
        name,
    ]


def _deployment() -> UUID:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from cpln_flows.worker import CplnWorker

    template = CplnWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        client.create_work_pool(
            WorkPoolCreate(name="cpln", type="cpln", base_job_template=template)
        )
        return client.create_deployment(
            client.create_flow_from_name("script"),
            name="script",
            entrypoint="no.such:flow",
            pull_steps=[],
            work_pool_name="cpln",
            job_variables={"command": shlex.join(["python", "-c", ENGINE])},
        )


def _start(deployment: UUID) -> UUID:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(deployment).id


def _read(run: UUID) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(run)


def _open(runs: list[UUID]) -> int:
    return sum(not _read(run).state.is_final() for run in runs)


def _messages(run: UUID) -> list[str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    wanted, found = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), []
    with get_client(sync_client=True) as client:
        while page := client.read_logs(wanted, limit=200, offset=len(found)):
            found += page
    return [log.message for log in found]


# Third-party servers


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    assert POSTGRES is not None
    # PostgreSQL does not run as root; Debian's packages bring a user for it.
    user = "postgres" if getpass.getuser() == "root" else None
    data = Path(tempfile.mkdtemp(prefix="two-servers-"))
    if user:
        shutil.chown(data, user)
    port = _free_port()
    made = [POSTGRES / "initdb", "-D", data / "data", "-U", "prefect", "-A", "trust", "--no-sync"]
    subprocess.run(made, user=user, cwd=data, check=True, capture_output=True)
    command = [
        POSTGRES / "postgres",
        "-D",
        data / "data",
        "-p",
        str(port),
        "-k",
        data,
        "-h",
        "127.0.0.1",
        "-F",
    ]
    ready = [POSTGRES / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
    try:
        with _process(command, folder / "postgres.log", user=user, cwd=data):
            _until(
                lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0,
                "PostgreSQL does not start",
            )
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(data)


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    port = _free_port()
    command = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with _process(command, folder / "redis.log"):
        _until(lambda: _listens(port), "Redis does not start")
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def _balanced(urls: list[str]) -> Iterator[str]:
    """Serve one address that hands each connection to the next server that accepts it."""
    loop, ports = (
        asyncio.new_event_loop(),
        itertools.cycle([int(url.rsplit(":", 1)[1]) for url in urls]),
    )

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in urls:
            try:
                upstream = await asyncio.open_connection("127.0.0.1", next(ports))
            except OSError:
                continue
            await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))
            return
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(_end, loop)
        thread.join(10)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """End what still forwards bytes, and then the loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    asyncio.gather(*tasks, return_exceptions=True).add_done_callback(lambda _: loop.stop())


@contextmanager
def _process(
    command: list[Any], log: Path, environment: dict[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=os.environ | (environment or {}),
            stdout=output,
            stderr=output,
            **options,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(look: Callable[[], Any], complaint: str | None) -> None:
    """Wait until a condition holds; without a complaint, continue when the longest time is over."""
    end = time.monotonic() + LONGEST_SECONDS
    while not look():
        if time.monotonic() > end:
            if complaint is None:
                return
            raise TimeoutError(complaint)
        time.sleep(0.5)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
