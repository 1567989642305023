"""Workloads that serve, as real processes: reached by name, killed, moved, with volumes."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from cpln_flows.emulator import Platform, PlatformConfig, Server
from tests.emulator.support import AUTH, GVC, TOKEN, WORKLOADS, until
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

# Answers with its name, its environment or the content of a file, after counting its starts there.
SERVER = """
import http.server, json, os, pathlib, sys

class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/env":
            body = json.dumps(dict(os.environ)).encode()
        elif self.path.startswith("/file"):
            path = pathlib.Path(os.environ["DATA"], "starts")
            body = path.read_bytes()
        else:
            body = os.environ["CPLN_NAME"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

if "DATA" in os.environ:
    with open(os.path.join(os.environ["DATA"], "starts"), "a") as starts:
        starts.write(os.environ["CPLN_NAME"] + "\\n")
print("pid", os.getpid(), flush=True)
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Answers).serve_forever()
"""


def serving(name, *, kind="standard", count=2, allow="same-org", external=(), **container):
    """A workload of a kind that answers on port 4200."""
    return {
        "name": name,
        "spec": {
            "type": kind,
            "containers": [
                {
                    "name": "main",
                    "image": "any",
                    "command": "python",
                    "args": ["-c", SERVER, "0.0.0.0", "4200"],
                    "ports": [{"number": 4200, "protocol": "http"}],
                    **container,
                }
            ],
            "defaultOptions": {
                "autoscaling": {"metric": "disabled", "minScale": count, "maxScale": max(count, 1)}
            },
            "firewallConfig": {
                "external": {"inboundAllowCIDR": list(external)},
                "internal": {"inboundAllowType": allow},
            },
            "rolloutOptions": {"terminationGracePeriodSeconds": 2},
        },
    }


class Here:
    """A platform that is served, and a client of its API."""

    def __init__(self, platform, server, client):
        self.platform = platform
        self.url = server.url
        self.client = client

    async def create(self, document, *, ready=True):
        answer = await self.client.post(WORKLOADS, json=document)
        assert answer.status_code == 201, answer.text
        if ready:
            await until(lambda: self.is_ready(document["name"]))

    async def status(self, name):
        link = f"{WORKLOADS}/{name}/deployment/local-1"
        return (await self.client.get(link)).json()["status"]

    async def is_ready(self, name):
        status = await self.status(name)
        return status["ready"] and not status["deploying"]

    def replicas(self, name):
        return [each for each in self.platform.running() if each.workload == name]

    def inside(self, name):
        """A client as the containers of a workload have it."""
        found = next(each for each in self.platform._parts.replicas if each.workload.name == name)
        return httpx.AsyncClient(
            proxy=found.run.env["HTTP_PROXY"], trust_env=False, timeout=PATIENCE_SECONDS
        )

    async def ask(self, caller, url):
        async with self.inside(caller) as client:
            return await client.get(url)

    async def pid(self, replica):
        """The process of a replica, as its log names it."""

        async def lines():
            query = {"query": f'{{gvc="quickstart", replica="{replica}"}}', "limit": "100"}
            answer = await self.client.get("/logs/org/local/loki/api/v1/query_range", params=query)
            streams = answer.json()["data"]["result"]
            return [line for each in streams for _, line in each["values"] if "pid" in line]

        await until(lines)
        return int((await lines())[-1].split()[1])


@pytest.fixture
async def here(anyio_backend):
    platform = Platform(PlatformConfig(token=TOKEN, restart_delay_seconds=0.1))
    async with (
        Server(platform) as server,
        httpx.AsyncClient(
            base_url=server.url, headers=AUTH, timeout=PATIENCE_SECONDS, trust_env=False
        ) as client,
    ):
        try:
            yield Here(platform, server, client)
        finally:
            await platform.aclose()


async def test_replicas_answer_in_turn_by_internal_name(here) -> None:
    await here.create(serving("web", count=2))
    answers = [(await here.ask("web", "http://web.quickstart.cpln.local/")).text for _ in range(4)]
    assert answers[:2] == answers[2:]
    assert set(answers) == {each.replica for each in here.replicas("web")}
    by_port = await here.ask("web", "http://web.quickstart.cpln.local:4200/")
    assert by_port.text in answers


async def test_replica_of_a_stateful_workload_has_a_name(here) -> None:
    await here.create(serving("data", kind="stateful", count=2))
    for index in (0, 1):
        for name in ("data.quickstart", "data.local-1.quickstart"):
            answer = await here.ask("data", f"http://replica-{index}.{name}.cpln.local/")
            assert answer.text == f"data-{index}"
    missing = await here.ask("data", "http://replica-7.data.quickstart.cpln.local/")
    assert missing.status_code == 503


async def test_each_replica_has_a_port_of_its_own(here) -> None:
    await here.create(serving("web", count=3))
    ports = [each.ports[4200] for each in here.replicas("web")]
    assert len(set(ports)) == 3
    async with httpx.AsyncClient(trust_env=False) as client:
        found = [(await client.get(f"http://127.0.0.1:{port}/env")).json() for port in ports]
    assert [env["PORT"] for env in found] == [str(port) for port in ports]
    assert all(env["NO_PROXY"] and env["http_proxy"] == env["HTTP_PROXY"] for env in found)


@pytest.mark.parametrize(
    ("allow", "status"),
    [("none", 403), ("same-gvc", 200), ("same-org", 200), ("workload-list", 403)],
)
async def test_firewall_decides_by_the_caller(here, allow, status) -> None:
    await here.create(serving("asks", count=1))
    await here.create(serving("web", count=1, allow=allow))
    answer = await here.ask("asks", "http://web.quickstart.cpln.local/")
    assert answer.status_code == status


async def test_caller_without_credentials_is_refused(here) -> None:
    await here.create(serving("web", count=1))
    proxy = here.platform._parts.network.proxy
    async with httpx.AsyncClient(proxy=proxy, trust_env=False) as client:
        answer = await client.get("http://web.quickstart.cpln.local/")
    assert answer.status_code == 407


async def test_canonical_endpoint_asks_the_external_firewall(here) -> None:
    await here.create(serving("open", count=1, external=["127.0.0.0/8"]))
    await here.create(serving("closed", count=1))
    async with httpx.AsyncClient(trust_env=False) as client:
        for name, status in (("open", 200), ("closed", 403)):
            endpoint = (await here.status(name))["endpoint"]
            document = (await here.client.get(f"{WORKLOADS}/{name}")).json()
            assert document["status"]["canonicalEndpoint"] == endpoint
            assert (await client.get(endpoint)).status_code == status
    alias = (await here.client.get(GVC)).json()["alias"]
    inside = await here.ask("closed", f"http://open-{alias}.cpln.app/")
    assert inside.text == here.replicas("open")[0].replica


async def test_killed_replica_is_replaced_and_requests_go_on(here) -> None:
    await here.create(serving("web", count=2))
    first, second = (each.replica for each in here.replicas("web"))
    os.kill(await here.pid(first), signal.SIGKILL)
    for _ in range(4):
        answer = await here.ask("web", "http://web.quickstart.cpln.local/")
        assert answer.text in (first, second)

    async def restarted():
        found = {each.replica: each for each in here.replicas("web")}
        return found[first].restarts == 1 and found[first].state == "ready"

    await until(restarted)


async def test_nobody_answers_for_a_suspended_workload(here) -> None:
    await here.create(serving("asks", count=1))
    await here.create(serving("web", count=1))
    body = {"spec": {"defaultOptions": {"suspend": True}}}
    await here.client.patch(f"{WORKLOADS}/web", json=body)

    async def stopped():
        return not here.replicas("web")

    await until(stopped)
    answer = await here.ask("asks", "http://web.quickstart.cpln.local/")
    assert (answer.status_code, answer.text) == (503, "no healthy upstream")


@pytest.mark.parametrize(
    ("file_system", "seen"),
    [
        ("ext4", {"data-0": "data-0\ndata-0\n", "data-1": "data-1\ndata-1\n"}),
        ("shared", {"data-0": 4, "data-1": 4}),
    ],
)
async def test_volumes_outlive_replicas(here, file_system, seen) -> None:
    spec = {"fileSystemType": file_system, "initialCapacity": 10}
    if file_system == "shared":
        spec["performanceClass"] = "shared"
    else:
        spec["performanceClass"] = "general-purpose-ssd"
    answer = await here.client.post(f"{GVC}/volumeset", json={"name": "disk", "spec": spec})
    assert answer.status_code == 201, answer.text
    document = serving(
        "data",
        kind="stateful",
        volumes=[{"uri": "cpln://volumeset/disk", "path": "/mnt/disk"}],
        env=[{"name": "DATA", "value": "/mnt/disk"}],
    )
    await here.create(document)
    await here.client.patch(f"{WORKLOADS}/data", json={"tags": {"cpln/deployTimestamp": "1"}})
    await until(lambda: here.is_ready("data"))
    for index in (0, 1):
        name = f"data-{index}"
        content = (
            await here.ask("data", f"http://replica-{index}.data.quickstart.cpln.local/file")
        ).text
        assert (len(content.split()) if file_system == "shared" else content) == seen[name]


async def test_probes_are_made_with_their_answers(here) -> None:
    """Each kind of probe of a process that answers 200 below /, and has a file."""
    quick = {"initialDelaySeconds": 0, "periodSeconds": 1, "failureThreshold": 1}
    probes = {
        "http-good": {"httpGet": {"path": "/env", "port": 4200}},
        "http-bad": {"httpGet": {"path": "/file", "port": 4200}},
        "tcp-good": {"tcpSocket": {"port": 4200}},
        "tcp-bad": {"tcpSocket": {"port": 4999}},
        "exec-good": {"exec": {"command": ["python", "-c", "print('fine')"]}},
        "exec-bad": {"exec": {"command": ["python", "-c", "raise SystemExit('not yet')"]}},
    }
    for name, probe in probes.items():
        document = serving(name, count=1, readinessProbe=probe | quick)
        await here.create(document, ready=name.endswith("good"))
    for name, reason in (
        ("http-bad", "readiness probe failed"),
        ("tcp-bad", "ConnectionRefusedError"),
        ("exec-bad", "exit code 1: not yet"),
    ):

        async def explained(name=name, reason=reason):
            status = await here.status(name)
            return not status["ready"] and reason in status["message"]

        await until(explained)


async def test_commands_run_in_a_container(here) -> None:
    await here.create(serving("web", count=1, env=[{"name": "WHO", "value": "me"}]))
    (replica,) = [each for each in here.platform._parts.replicas if each.workload.name == "web"]
    handle = replica.handle_of("main")
    lines = []
    code = await handle.execute(
        ["python", "-c", "import os; print(os.environ['WHO']); raise SystemExit(3)"], lines.extend
    )
    assert (code, lines) == (3, ["me"])
    with pytest.raises(OSError, match="executable file not found"):
        await handle.execute(["no-such-program"], lines.extend)
    waiting = asyncio.ensure_future(handle.execute(["sleep", "600"], lines.extend))
    await until(lambda: asyncio.sleep(0, bool(handle._commands)))
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert not handle._commands


@pytest.mark.proof
async def test_fifty_replicas_become_ready(here) -> None:
    await here.create(serving("many", count=50), ready=False)
    await until(lambda: here.is_ready("many"))
    assert {each.state for each in here.replicas("many")} == {"ready"}


def _platform_of_its_own(folder):
    """A platform in another process, which prints the ports of two replicas when they are ready."""
    program = textwrap.dedent(
        f"""
        import httpx, sys
        from cpln_flows.emulator import Platform, PlatformConfig, serve_in_thread
        with serve_in_thread(Platform(PlatformConfig(token="{TOKEN}"))) as running:
            httpx.post(running.url + "{WORKLOADS}", json={serving("web", count=2)!r},
                       headers={{"authorization": "Bearer {TOKEN}"}}, timeout=600)
            while [each.state for each in running.platform.running()] != ["ready", "ready"]:
                pass
            print(*[each.ports[4200] for each in running.platform.running()], flush=True)
            sys.stdin.read()
        """
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes through /proc")
async def test_nothing_survives_the_death_of_the_platform(tmp_path) -> None:
    process = _platform_of_its_own(tmp_path)
    ports = [int(word) for word in (await asyncio.to_thread(process.stdout.readline)).split()]
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert len(ports) == 2

    async def gone():
        return not list(tmp_path.iterdir()) and not any([await _answers(port) for port in ports])

    await until(gone)


async def _answers(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    return True
