"""Measure how fast log lines arrive, the memory for a million of them, and the delay of one line.

Usage: python benchmarks/logs.py [ROUNDS]

1. A WebSocket server in a process of its own sends the same frames, of 100 lines of 100 bytes each,
   uncompressed, in turns to a bare loop of `websockets` and `json` and to the follower of a job.
   The program prints the rates of both to `print_func=list.append`, and their ratio. Both pass the
   very same strings to it, `{time in UTC} - {line}`. A second loop, which does not even read the
   times, shows what is left once nothing is done with a line.
2. A million lines arrive with the result capped, in a fresh process. The program prints its peak
   of memory above the start.
3. A job on the local platform, also in another process, prints the time in each of its lines. The
   program prints the time from there to `print_func`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from cpln_flows import CplnConfig, CplnCredentials, CplnJob, CplnJobRun
from cpln_flows.api.client import CplnClient
from cpln_flows.api.logs import LogSource
from cpln_flows.emulator import Platform, PlatformConfig, serve_in_thread
from cpln_flows.logger import Journal
from cpln_flows.logs.stream import LogStream
from cpln_flows.logs.transcript import Transcript
from cpln_flows.model import log_lines
from cpln_flows.model.log_lines import Batch
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import ApiSettings, CplnSettings

FRAME_LINES = 100
LINES = 200_000
MANY_LINES = 1_000_000
TOKEN = SecretStr("s.local-platform")
LABELS = {
    "gvc": "dev",
    "workload": "w",
    "container": "main",
    "location": "l",
    "replica": "command-1-a",
    "stream": "stdout",
}
TIMES = (
    "import time\n"
    "for n in range(1000):\n"
    "    print(time.time_ns(), flush=True)\n"
    "    time.sleep(0.005)"
)
_spawn = multiprocessing.get_context("spawn")


def main(rounds: int) -> None:
    with _process(_serve_frames) as url:
        bare, least, ours = [], [], []
        for _ in range(rounds):
            bare.append(LINES / asyncio.run(_bare(url, _as_shown)))
            least.append(LINES / asyncio.run(_bare(url, _as_it_is)))
            ours.append(LINES / asyncio.run(_ours(url, LINES, None, [].append)))
            print(
                f"bare loop {bare[-1]:,.0f} lines/s, without times {least[-1]:,.0f},"
                f" follower {ours[-1]:,.0f}:"
                f" ratios {ours[-1] / bare[-1]:.2f} and {ours[-1] / least[-1]:.2f}"
            )
        middle = statistics.median
        print(
            f"medians: ratio {middle(ours) / middle(bare):.2f},"
            f" without times {middle(ours) / middle(least):.2f}"
        )
        megabytes = _spawn.Pool(1).apply(_memory, (url,))
        print(f"{MANY_LINES:,} lines with the result capped: {megabytes:.1f} MiB above the start")
    with _process(_serve_platform) as url:
        late = asyncio.run(_latencies(url))
    slowest = statistics.quantiles(late, n=100)[98]
    print(
        f"line to print_func: median {statistics.median(late):.2f} ms,"
        f" 99th percentile {slowest:.2f} ms"
    )


async def _bare(url: str, text_of: Callable[[str, str], str]) -> float:
    """Return the seconds of a program that only takes the lines out of the frames."""
    lines: list[str] = []
    began = time.perf_counter()
    async with connect(f"{url}/tail?lines={LINES}", max_size=None, compression=None) as connection:
        while len(lines) < LINES:
            for stream in json.loads(await connection.recv())["streams"]:
                for ns, line in stream["values"]:
                    lines.append(text_of(ns, line))
    return time.perf_counter() - began


def _as_shown(ns: str, line: str) -> str:
    seconds, rest = divmod(int(ns), 1_000_000_000)
    shown = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return f"{shown.isoformat()} - {line}"


def _as_it_is(ns: str, line: str) -> str:
    return f"{ns} - {line}"


async def _ours(
    url: str, count: int, most_characters: int | None, print_func: Callable[[str], Any]
) -> float:
    """Return the seconds of the follower, with everything that a job run does with each line.

    That is: render it, add it to the result, pass it to `print_func`.
    """
    transcript, done = Transcript(most_characters), asyncio.Event()

    def deliver(batch: Batch) -> None:
        lines = log_lines.render(batch)
        transcript.add(lines)
        for line in lines:
            print_func(line)

    def wake() -> None:
        if stream.ledger.total >= count:
            done.set()

    settings = ApiSettings(
        token=TOKEN, endpoint=url.replace("ws", "http", 1), logs_endpoint=f"{url}/{count}"
    )
    async with CplnClient(settings) as client:
        source = LogSource(client, "acme", "{}")
        stream = LogStream(
            source=source, deliver=deliver, journal=Journal(), since_ns=time.time_ns(), wake=wake
        )
        began = time.perf_counter()
        tail = asyncio.create_task(stream.tail())
        await done.wait()
        seconds = time.perf_counter() - began
        tail.cancel()
        await asyncio.wait([tail])
    assert len(transcript) == stream.receipt.lines == count
    return seconds


def _memory(url: str) -> float:
    asyncio.run(_ours(url, FRAME_LINES, 1_000_000, lambda _: None))
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the imports
    before = _megabytes("VmRSS")
    asyncio.run(_ours(url, MANY_LINES, 1_000_000, lambda _: None))
    return _megabytes("VmHWM") - before


async def _latencies(url: str) -> list[float]:
    settings = CplnSettings.load(
        token=TOKEN, endpoint=url, logs_endpoint=url.replace("http", "ws", 1)
    )
    pod = {
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "python", "command": ["python", "-c", TIMES]}],
    }
    job = CplnJob(
        credentials=CplnCredentials(config=CplnConfig(token=TOKEN)),
        org="local",
        namespace="quickstart",
        location="local-1",
        v1_job={
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "times"},
            "spec": {"template": {"spec": pod}},
        },
    )
    late: list[float] = []
    run = CplnJobRun(job, JobIdentity.anonymous(), settings)
    await run.start()
    await run.wait_for_completion(
        lambda line: late.append((time.time_ns() - int(line.split(" - ")[1])) / 1e6)
    )
    return late


def _frames(count: int) -> Iterator[str]:
    begin = time.time_ns() + 1_000_000_000
    for first in range(0, count, FRAME_LINES):
        values = [(str(begin + 1000 * n), f"{n:0100d}") for n in range(first, first + FRAME_LINES)]
        yield orjson.dumps(
            {"streams": [{"stream": LABELS, "values": values}], "dropped_entries": None}
        ).decode()


def _serve_frames(pipe: Connection) -> None:
    # Made before the clock runs: the server should not be what is measured.
    frames = list(_frames(LINES))

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        count = int(path.split("/")[1]) if path[1].isdigit() else LINES
        for frame in frames if count == LINES else _frames(count):
            await connection.send(frame)
        await connection.wait_closed()

    def answer(_: ServerConnection, request: Request) -> Response | None:
        if "query_range" not in request.path:
            return None
        body = b'{"status":"success","data":{"resultType":"streams","result":[]}}'
        return Response(
            200,
            "OK",
            Headers({"content-type": "application/json", "content-length": str(len(body))}),
            body,
        )

    async def run() -> None:
        async with serve(handle, "127.0.0.1", 0, process_request=answer) as server:
            pipe.send(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


def _serve_platform(pipe: Connection) -> None:
    with serve_in_thread(Platform(PlatformConfig(token=TOKEN.get_secret_value()))) as server:
        pipe.send(server.url)
        pipe.recv()


@contextmanager
def _process(target: Callable[[Connection], None]) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = _spawn.Process(target=target, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("end")
        process.join()


def _megabytes(name: str) -> float:
    (found,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    ]
    return int(found.split()[1]) / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
