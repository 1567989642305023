"""Workloads that serve and what runs beside them: hooks, probes, volumes, scale, internal names."""

import pytest

from tests.contract.target import IMAGE

pytestmark = pytest.mark.xdist_group("contract")

fact = pytest.mark.fact


def container(script, *arguments, **fields):
    """A container that runs a Python script."""
    return {
        "name": "main",
        "image": IMAGE,
        "command": "python",
        "args": ["-c", script, *arguments],
        "cpu": "50m",
        "memory": "128Mi",
        **fields,
    }


def serve(platform, containers, kind="standard", count=1, *, ready=True, **spec):
    """Create a workload that runs until it is deleted; wait until it is ready."""
    scaling = {"metric": "disabled", "minScale": count, "maxScale": count}
    document = {
        "name": platform.name("serves"),
        "spec": {
            "type": kind,
            "containers": containers,
            "defaultOptions": {"autoscaling": scaling, "capacityAI": False},
            **spec,
        },
    }
    link = platform.create(f"{platform.gvc_link}/workload", document)
    if ready:
        platform.until(lambda: platform.deployment(link).get("ready"))
    return link


def lines(platform, link):
    """All lines of a workload."""
    return platform.lines(f'{{gvc="{platform.gvc}", workload="{link.rsplit("/", 1)[1]}"}}')


GREETED = """
import pathlib, signal, sys, time
def stop(*_):
    print("stopped:", pathlib.Path("pre-stop").exists(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
while not pathlib.Path("post-start").exists():
    time.sleep(0.05)
print("greeted", flush=True)
while True:
    time.sleep(0.05)
"""


def hook(script):
    return {"exec": {"command": ["python", "-c", script]}}


def touch(name):
    return hook(f"import pathlib; pathlib.Path('{name}').touch()")


HOOKED = container(
    GREETED, lifecycle={"postStart": touch("post-start"), "preStop": touch("pre-stop")}
)
PATIENT = {"terminationGracePeriodSeconds": 60}


@fact("F091")
def test_hooks_run_around_a_job(platform) -> None:
    link = platform.workload(containers=[HOOKED], rolloutOptions=PATIENT)
    command = platform.start(link)
    replica = platform.running(command)["status"]["replica"]
    platform.until(lambda: "greeted" in lines(platform, link))
    body = {
        "type": "stopReplica",
        "spec": {"location": platform.location, "replica": replica},
    }
    assert platform.http.post(f"{link}/-command", json=body).status_code == 201
    platform.ended(command)
    platform.until(lambda: "stopped: True" in lines(platform, link))


@fact("F091")
def test_hooks_run_around_a_replica(platform) -> None:
    link = serve(platform, [HOOKED], rolloutOptions=PATIENT)
    platform.until(lambda: "greeted" in lines(platform, link))
    assert platform.http.delete(link).status_code == 202
    platform.until(lambda: "stopped: True" in lines(platform, link))


@fact("F091")
def test_failed_hook_fails_the_start(platform) -> None:
    broken = container("import time; time.sleep(1000)", lifecycle={"postStart": hook("exit(1)")})
    link = platform.workload(containers=[broken])
    assert platform.ended(platform.start(link))["lifecycleStage"] == "failed"


# Says what it was asked, and answers /bad with 503.
WEB = """
import http.server, sys
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked", self.path, flush=True)
        self.send_response(503 if self.path == "/bad" else 200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Answers).serve_forever()
"""

# Answers each request over HTTP/2 with one message of gRPC: the status in the second argument.
HEALTH = """
import socketserver, struct, sys
def frame(kind, flags, stream, content=b""):
    head = struct.pack(">I", len(content))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + content
def header(name, value):
    return b"\\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
class Answers(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.read(24)
        self.wfile.write(frame(4, 0, 0))
        while head := self.rfile.read(9):
            size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
            stream = int.from_bytes(head[5:9])
            self.rfile.read(size)
            if kind == 4 and not flags:
                self.wfile.write(frame(4, 1, 0))
            if kind in (0, 1) and flags & 1:
                print("asked", flush=True)
                message = b"\\x08" + bytes([int(sys.argv[2])])
                body = b"\\0" + struct.pack(">I", len(message)) + message
                first = b"\\x88" + header(b"content-type", b"application/grpc")
                last = header(b"grpc-status", b"0")
                self.wfile.write(frame(1, 4, stream, first) + frame(0, 0, stream, body))
                self.wfile.write(frame(1, 5, stream, last))
socketserver.ThreadingTCPServer(("0.0.0.0", int(sys.argv[1])), Answers).serve_forever()
"""
PORTS = [{"number": 8080, "protocol": "http"}]
GRPC = [{"number": 8080, "protocol": "grpc"}]
OFTEN = {"initialDelaySeconds": 0, "periodSeconds": 1}


def probed(probe, script=WEB, *arguments, ports=PORTS):
    """A container that is ready as a probe finds it."""
    return container(script, "8080", *arguments, ports=ports, readinessProbe={**probe, **OFTEN})


@fact("F092")
@pytest.mark.parametrize(
    "main",
    [
        pytest.param(probed({"exec": {"command": ["python", "-c", "exit(0)"]}}), id="exec"),
        pytest.param(probed({"httpGet": {"path": "/", "port": 8080}}), id="http"),
        pytest.param(probed({"tcpSocket": {"port": 8080}}), id="tcp"),
        pytest.param(probed({"grpc": {"port": 8080}}, HEALTH, "1", ports=GRPC), id="grpc"),
    ],
)
def test_passed_probe_makes_a_workload_ready(platform, main) -> None:
    serve(platform, [main])


@fact("F092")
@pytest.mark.parametrize(
    "main",
    [
        pytest.param(probed({"httpGet": {"path": "/bad", "port": 8080}}), id="http"),
        pytest.param(probed({"grpc": {"port": 8080}}, HEALTH, "2", ports=GRPC), id="grpc"),
    ],
)
def test_failed_probe_keeps_a_workload_from_ready(platform, main) -> None:
    link = serve(platform, [main], ready=False)
    platform.until(lambda: len(lines(platform, link)) >= 2)
    assert not platform.deployment(link)["ready"]


@fact("F092")
def test_failed_liveness_probe_restarts_a_container(platform) -> None:
    dies = {"exec": {"command": ["python", "-c", "exit(1)"]}, **OFTEN, "failureThreshold": 1}
    script = "import time; print('begun', flush=True); time.sleep(1000)"
    options = {"rolloutOptions": {"terminationGracePeriodSeconds": 0}}
    link = serve(platform, [container(script, livenessProbe=dies)], ready=False, **options)
    platform.until(lambda: lines(platform, link).count("begun") >= 2)
