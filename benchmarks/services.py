"""Measure how soon replicas serve on the local platform, what an idle one costs, and its proxy.

Usage: python benchmarks/services.py [REPLICAS] [ROUNDS]

1. The floor starts as many HTTP servers as there are replicas, as processes, and waits until each
   accepts connections. The platform then starts a workload with as many replicas of the same
   server, and the program waits until all are ready. In turns; the program prints both times, their
   difference and their ratio.
2. The platform is left alone with all replicas ready. The program prints the share of a core that
   its process uses, without the replicas.
3. The same requests go to one replica at its own port, and through the proxy by its name. The
   program prints the rates of both, and their ratio.
"""

from __future__ import annotations

import multiprocessing
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import httpx

from cpln_flows.emulator import Platform, PlatformConfig, serve_in_thread
from cpln_flows.emulator.serving.ports import choose

TOKEN = "s.benchmark"
WORKLOADS = "/org/local/gvc/quickstart/workload"
SERVER = (
    "import http.server, sys;"
    " h = http.server.SimpleHTTPRequestHandler; h.log_message = lambda *_: None;"
    " h.protocol_version = 'HTTP/1.1';"
    " http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), h).serve_forever()"
)
IDLE_SECONDS = 20.0
REQUESTS = 500


def document(replicas: int) -> dict[str, object]:
    """Return a workload that serves an empty folder."""
    container = {
        "name": "main",
        "image": "any",
        "command": "python",
        "args": ["-c", SERVER, "127.0.0.1", "4200"],
        "ports": [{"number": 4200, "protocol": "http"}],
    }
    scaling = {"metric": "disabled", "minScale": replicas, "maxScale": replicas}
    return {
        "name": "web",
        "spec": {
            "type": "standard",
            "containers": [container],
            "defaultOptions": {"autoscaling": scaling, "timeoutSeconds": 600},
            "firewallConfig": {"internal": {"inboundAllowType": "same-org"}},
        },
    }


def floor(count: int) -> float:
    """Return the seconds until as many plain processes accept connections."""
    ports = choose(count, (), random.Random())  # noqa: S311 - ports, not secrets
    began = time.perf_counter()
    processes = [
        subprocess.Popen([sys.executable, "-c", SERVER, "127.0.0.1", str(port)]) for port in ports
    ]
    try:
        for port in ports:
            _wait(lambda port=port: _accepts(port))
        return time.perf_counter() - began
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _wait(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.01)


def serve(pipe: Connection) -> None:
    """Serve a platform in this process, and answer with its processor time when asked."""
    with serve_in_thread(Platform(PlatformConfig(token=TOKEN))) as running:
        pipe.send((running.url, ""))
        while (asked := pipe.recv()) != "end":
            if asked == "cpu":
                pipe.send(time.process_time())
            elif asked == "proxy":
                replica = next(iter(running.platform._parts.replicas))  # noqa: SLF001
                env = {} if replica.run is None else replica.run.env
                pipe.send((env["HTTP_PROXY"], replica.ports[4200]))


class Measured:
    """A platform in a process of its own, with a client."""

    def __init__(self) -> None:
        self.pipe, other = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(other,))
        self._process.start()
        url, _ = self.pipe.recv()
        self.client = httpx.Client(
            base_url=url, headers={"authorization": TOKEN}, trust_env=False, timeout=60
        )

    def start(self, count: int) -> float:
        """Return the seconds until as many replicas are ready."""
        began = time.perf_counter()
        self.client.post(WORKLOADS, json=document(count)).raise_for_status()
        link = f"{WORKLOADS}/web/deployment/local-1"
        _wait(lambda: bool(self.client.get(link).json()["status"]["ready"]))
        return time.perf_counter() - began

    def stop(self) -> None:
        """Delete the workload, and wait until its replicas are gone."""
        self.client.delete(f"{WORKLOADS}/web")
        control = "/_control/replicas"
        _wait(lambda: not self.client.get(control).json()["replicas"])

    def idle(self) -> float:
        """Return the share of a core that the platform uses while nothing is asked of it."""
        self.pipe.send("cpu")
        before: float = self.pipe.recv()
        time.sleep(IDLE_SECONDS)
        self.pipe.send("cpu")
        after: float = self.pipe.recv()
        return (after - before) / IDLE_SECONDS

    def rates(self) -> tuple[float, float]:
        """Return requests per second to a replica's port, and through the proxy."""
        self.pipe.send("proxy")
        proxy, port = self.pipe.recv()
        # The proxy opens a connection for each request, so the other side does so as well.
        with httpx.Client(trust_env=False, headers={"connection": "close"}) as direct:
            plain = _rate(direct, f"http://127.0.0.1:{port}/")
        with httpx.Client(trust_env=False, proxy=proxy) as proxied:
            return plain, _rate(proxied, "http://web.quickstart.cpln.local/")

    def close(self) -> None:
        """End the platform."""
        self.client.close()
        self.pipe.send("end")
        self._process.join()


def _rate(client: httpx.Client, url: str) -> float:
    client.get(url).raise_for_status()
    began = time.perf_counter()
    for _ in range(REQUESTS):
        client.get(url)
    return REQUESTS / (time.perf_counter() - began)


def main(replicas: int, rounds: int) -> None:
    """Run the three measurements."""
    floors, ours = [], []
    measured = Measured()
    try:
        for number in range(rounds):
            floors.append(floor(replicas))
            ours.append(measured.start(replicas))
            print(f"round {number + 1}: floor {floors[-1]:.2f} s, platform {ours[-1]:.2f} s")
            if number < rounds - 1:
                measured.stop()
        low, high = statistics.median(floors), statistics.median(ours)
        print(f"{replicas} replicas: {high:.2f} s, {high - low:+.2f} s, ratio {high / low:.2f}")
        print(f"idle: {100 * measured.idle():.2f} % of a core")
        direct, proxied = measured.rates()
        print(f"requests: {direct:.0f}/s direct, {proxied:.0f}/s by proxy: {proxied / direct:.2f}")
    finally:
        measured.close()


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    main(words[0] if words else 50, words[1] if len(words) > 1 else 3)
