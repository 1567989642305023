"""Measure what a request to the local platform costs, compared with a bare Starlette app.

Usage: python benchmarks/emulator.py [speed|workloads|commands]

Both answer the same JSON in the same run. The program prints:

1. Requests per second in process, by the ASGI interface itself and through httpx, and over
   loopback, for the platform and for the bare app. Each is the best of five alternating turns of
   half a second. Beside them is how many times as long the platform takes; the worst of these in
   process should be at most 4.
2. For 1,000 to 10,000 workloads, each with a command that has ended: the milliseconds for one
   creation, start, read, tag query of workloads, query of commands and page of a list, and the
   memory that they take.
3. The same for 10,000 commands of one workload.

The last line of (2) and of (3) shows how many times as long a request takes with the most objects
as with the fewest: whatever grows there does not scale.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from cpln_flows.emulator import Exit, Platform, PlatformConfig, Script, ScriptedExecutor, Server

GVC = "/org/local/gvc/quickstart"
WORKLOADS = f"{GVC}/workload"
TOKEN = "s.benchmark"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
TURNS, SECONDS = 5, 0.5
MOST_TIMES = 4
SIZES = (1_000, 2_500, 5_000, 10_000)
ASKED = 300

Call = Callable[[], Awaitable[object]]


def main(part: str) -> None:
    if part in PARTS:
        asyncio.run(PARTS[part]())
        return
    for name in PARTS:
        # A process for each part, so that the memory of one is not that of another.
        subprocess.run([sys.executable, __file__, name], check=True)


def _workload(name: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "ubuntu",
        "command": "true",
        "env": [{"name": f"V{n}", "value": "x"} for n in range(10)],
    }
    spec = {
        "type": "cron",
        "containers": [container],
        "job": {"schedule": "0 0 1 1 *"},
        "defaultOptions": {"suspend": True},
    }
    return {
        "name": name,
        "tags": {"cpln/createdByPrefect": "true", "cpln/specHash": name},
        "spec": spec,
    }


def _run() -> dict[str, Any]:
    return {
        "type": "runCronWorkload",
        "tags": {"submission": "x"},
        "spec": {"location": "local-1", "containerOverrides": []},
    }


def _platform() -> Platform:
    config = PlatformConfig(
        token=TOKEN, seed=1, delete_delay_seconds=0, command_retention_seconds=None
    )
    return Platform(config, executor=ScriptedExecutor(Script((Exit(),))))


# Speed


async def _speed() -> None:
    platform = _platform()
    transport = httpx.ASGITransport(platform.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://local", headers=HEADERS
    ) as client:
        (await client.post(WORKLOADS, json=_workload("w-1"))).raise_for_status()
        command = (await client.post(f"{WORKLOADS}/w-1/-command", json=_run())).headers["location"]
        await asyncio.sleep(0.1)
        documents = {
            path: (await client.get(path)).json()
            for path in (f"{WORKLOADS}/w-1", command, f"{WORKLOADS}/w-1/deployment")
        }
    bare = _bare(documents)
    print(f"{'requests per second':44}{'platform':>10}{'bare':>10}{'times':>8}")
    times: list[float] = []
    for path, document in documents.items():
        kind = f"GET {document.get('itemKind') or document['kind']}"
        times.append(
            await _compare(f"{kind}, in process", _asgi(platform.app, path), _asgi(bare, path))
        )
    async with _in_process(platform.app) as ours, _in_process(bare) as theirs:
        for path, document in documents.items():
            kind = f"GET {document.get('itemKind') or document['kind']}"
            times.append(
                await _compare(
                    f"{kind}, in process, by httpx", _get(ours, path), _get(theirs, path)
                )
            )
        start = f"{WORKLOADS}/w-1/-command"
        times.append(
            await _compare(
                "POST -command, in process, by httpx", _post(ours, start), _post(theirs, start)
            )
        )
    print(f"{f'worst in process, at most {MOST_TIMES} allowed':64}{max(times):8.2f}")
    await _over_loopback(platform, bare, documents)
    await platform.aclose()


def _bare(documents: dict[str, Any]) -> Starlette:
    async def answer(request: Request) -> JSONResponse:
        return JSONResponse(documents[request.url.path])

    async def start(request: Request) -> PlainTextResponse:
        await request.json()
        return PlainTextResponse("Created", 201, {"location": f"{request.url.path}/1"})

    routes = [Route(path, answer) for path in documents]
    return Starlette(routes=[*routes, Route(f"{WORKLOADS}/w-1/-command", start, methods=["POST"])])


async def _over_loopback(platform: Platform, bare: Starlette, documents: dict[str, Any]) -> None:
    config = uvicorn.Config(bare, port=0, log_level="critical", http="h11", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with (
        Server(platform) as ours,
        _client(ours.url) as fast,
        _client(f"http://127.0.0.1:{port}") as plain,
    ):
        for path, document in documents.items():
            kind = f"GET {document.get('itemKind') or document['kind']}"
            await _compare(f"{kind}, over loopback", _get(fast, path), _get(plain, path))
    server.should_exit = True
    await serving


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers=HEADERS)


def _in_process(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://local", headers=HEADERS
    )


def _get(client: httpx.AsyncClient, path: str) -> Call:
    return lambda: client.get(path)


def _post(client: httpx.AsyncClient, path: str) -> Call:
    return lambda: client.post(path, json=_run())


def _asgi(app: Any, path: str) -> Call:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "server": ("local", 80), "client": ("local", 1),
        "headers": [(b"host", b"local"), (b"authorization", f"Bearer {TOKEN}".encode())],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200, message

    return lambda: app(dict(scope), receive, send)


async def _compare(name: str, platform: Call, bare: Call) -> float:
    turns = [(await _rate(platform), await _rate(bare)) for _ in range(TURNS)]
    ours, theirs = (max(rates) for rates in zip(*turns, strict=True))
    print(f"{name:44}{ours:10.0f}{theirs:10.0f}{theirs / ours:8.2f}")
    return theirs / ours


async def _rate(call: Call) -> float:
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < SECONDS:
        for _ in range(20):
            await call()
        count += 20
    return count / spent


# Size


async def _many_workloads() -> None:
    gc.collect()
    before = _memory()
    platform = _platform()
    print(
        f"\n{'workloads':>10}{'create':>9}{'start':>9}{'read':>9}{'by tag':>9}{'commands':>9}"
        f"{'page':>9}  ms    MiB"
    )
    async with _in_process(platform.app) as client:
        by_hash, by_submission = partial(_by_tag, "cpln/specHash"), _by_tag("submission", "x")
        made = 0
        rows: list[list[float]] = []
        for size in SIZES:
            create = start = 0.0
            for number in range(made, size):
                create += await _timed(client.post(WORKLOADS, json=_workload(f"w-{number}")))
                start += await _timed(client.post(f"{WORKLOADS}/w-{number}/-command", json=_run()))
            new, made = size - made, size
            others = await _asked([
                lambda n: client.get(f"{WORKLOADS}/w-{n}"),
                lambda n: client.post("/org/local/workload/-query", json=by_hash(f"w-{n}")),
                lambda n: client.post(f"{WORKLOADS}/w-{n}/-command/-query", json=by_submission),
                lambda _: client.get(WORKLOADS),
            ], size)  # fmt: skip
            rows.append([1000 * create / new, 1000 * start / new, *others])
            print(
                f"{size:10}"
                + "".join(f"{value:9.3f}" for value in rows[-1])
                + f"{_memory() - before:11.0f}"
            )
    _print_growth(rows)
    await platform.aclose()


async def _many_commands() -> None:
    gc.collect()
    before = _memory()
    platform = _platform()
    print(f"\n{'commands':>10}{'start':>9}{'read':>9}{'by stage':>9}{'page':>9}  ms    MiB")
    commands = f"{WORKLOADS}/w-1/-command"
    async with _in_process(platform.app) as client:
        (await client.post(WORKLOADS, json=_workload("w-1"))).raise_for_status()
        links: list[str] = []
        rows: list[list[float]] = []
        for size in SIZES:
            began = time.perf_counter()
            new = size - len(links)
            links.extend(
                [(await client.post(commands, json=_run())).headers["location"] for _ in range(new)]
            )
            start = 1000 * (time.perf_counter() - began) / new
            others = await _asked([
                lambda n, links=links: client.get(links[n]),
                lambda _: client.post(f"{commands}/-query", json=_running()),
                lambda _: client.get(commands),
            ], size)  # fmt: skip
            rows.append([start, *others])
            print(
                f"{size:10}"
                + "".join(f"{value:9.3f}" for value in rows[-1])
                + f"{_memory() - before:11.0f}"
            )
    _print_growth(rows)
    await platform.aclose()


def _print_growth(rows: list[list[float]]) -> None:
    """Print how many times as long a request takes with the most objects as with the fewest."""
    print(
        f"{'growth':>10}"
        + "".join(f"{last / first:9.2f}" for first, last in zip(rows[0], rows[-1], strict=True))
        + "  times"
    )


def _by_tag(tag: str, value: str) -> dict[str, Any]:
    return {"spec": {"match": "all", "terms": [{"op": "=", "tag": tag, "value": value}]}}


def _running() -> dict[str, Any]:
    terms = [
        {"property": "type", "value": "runCronWorkload"},
        {"property": "lifecycleStage", "value": "running"},
    ]
    return {"spec": {"match": "all", "sort": {"by": "created", "order": "desc"}, "terms": terms}}


async def _asked(asks: list[Callable[[int], Awaitable[Any]]], size: int) -> list[float]:
    step = max(size // ASKED, 1)
    return [
        1000
        * sum([await _timed(ask(number)) for number in range(0, size, step)])
        / len(range(0, size, step))
        for ask in asks
    ]


async def _timed(call: Awaitable[Any]) -> float:
    began = time.perf_counter()
    (await call).raise_for_status()
    return time.perf_counter() - began


def _memory() -> float:
    """The memory that the process uses now, in MiB."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


PARTS = {"speed": _speed, "workloads": _many_workloads, "commands": _many_commands}

if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
