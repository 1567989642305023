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


@pytest.fixture
def serve(platform):
    """Creates workloads that run to the end of the test, and waits until they are ready."""
    created = []

    def begin(containers, kind="standard", count=1, *, name=None, ready=True, **spec):
        scaling = {"metric": "disabled", "minScale": count, "maxScale": count}
        document = {
            "name": name or platform.name("serves"),
            "spec": {
                "type": kind,
                "containers": containers,
                "defaultOptions": {"autoscaling": scaling, "capacityAI": False},
                **spec,
            },
        }
        link = platform.create(f"{platform.gvc_link}/workload", document)
        created.append(link)
        if ready:
            platform.until(lambda: platform.deployment(link).get("ready"))
        return link

    yield begin
    for link in created:
        platform.http.delete(link)


def replicas(platform, link):
    """The names of the replicas of a workload in the location of the tests."""
    remote = platform.deployment(link)["remote"]
    return platform.get(f"{remote}/replicas{link}")["items"]


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
def test_hooks_run_around_a_replica(platform, serve) -> None:
    link = serve([HOOKED], rolloutOptions=PATIENT)
    platform.until(lambda: "greeted" in lines(platform, link))
    assert platform.http.delete(link).status_code == 202
    platform.until(lambda: "stopped: True" in lines(platform, link))


@fact("F091")
def test_failed_hook_fails_the_start(platform) -> None:
    broken = container("import time; time.sleep(1000)", lifecycle={"postStart": hook("exit(1)")})
    link = platform.workload(containers=[broken])
    assert platform.ended(platform.start(link))["lifecycleStage"] == "failed"


# Says what it was asked, answers with its name, and /bad with 503.
WEB = """
import http.server, os, sys
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked", self.path, flush=True)
        self.send_response(503 if self.path == "/bad" else 200)
        body = os.environ["CPLN_NAME"].encode()
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
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
def test_passed_probe_makes_a_workload_ready(platform, serve, main) -> None:
    serve([main])


@fact("F092")
@pytest.mark.parametrize(
    "main",
    [
        pytest.param(probed({"httpGet": {"path": "/bad", "port": 8080}}), id="http"),
        pytest.param(probed({"grpc": {"port": 8080}}, HEALTH, "2", ports=GRPC), id="grpc"),
    ],
)
def test_failed_probe_keeps_a_workload_from_ready(platform, serve, main) -> None:
    link = serve([main], ready=False)
    platform.until(lambda: len(lines(platform, link)) >= 2)
    assert not platform.deployment(link)["ready"]


@fact("F092")
def test_failed_liveness_probe_restarts_a_container(platform, serve) -> None:
    dies = {"exec": {"command": ["python", "-c", "exit(1)"]}, **OFTEN, "failureThreshold": 1}
    script = "import time; print('begun', flush=True); time.sleep(1000)"
    options = {"rolloutOptions": {"terminationGracePeriodSeconds": 0}}
    link = serve([container(script, livenessProbe=dies)], ready=False, **options)
    platform.until(lambda: lines(platform, link).count("begun") >= 2)


# Leaves a file with its name, and shows the names that it finds, each time they change.
NAMES = """
import os, pathlib, time
folder, shown = pathlib.Path(os.environ["DATA"]), None
(folder / os.environ["CPLN_NAME"]).touch()
while True:
    found = sorted(each.name for each in folder.iterdir() if each.name != "lost+found")
    if found != shown:
        print(*found, flush=True)
        shown = found
    time.sleep(0.1)
"""
LEFT = "import os; exit(not os.path.exists(os.environ['DATA'] + '/' + os.environ['CPLN_NAME']))"


def stateful(platform, serve, file_system):
    """Run two replicas that mount a volumeset; return the name of the workload."""
    performance = "shared" if file_system == "shared" else "general-purpose-ssd"
    spec = {"fileSystemType": file_system, "performanceClass": performance, "initialCapacity": 10}
    volumeset = platform.name("vs")
    platform.create(f"{platform.gvc_link}/volumeset", {"name": volumeset, "spec": spec})
    main = container(
        NAMES,
        env=[{"name": "DATA", "value": "/data"}],
        volumes=[{"uri": f"cpln://volumeset/{volumeset}", "path": "/data"}],
        readinessProbe={"exec": {"command": ["python", "-c", LEFT]}, **OFTEN},
    )
    return serve([main], "stateful", 2).rsplit("/", 1)[1]


def shown_by(platform, name, index):
    """What a replica has found in its volume, line by line."""
    where = f'gvc="{platform.gvc}", location="{platform.location}"'
    return platform.lines(f'{{{where}, workload="{name}", replica="{name}-{index}"}}')


@fact("F190")
def test_each_replica_has_a_volume_of_its_own(platform, serve) -> None:
    name = stateful(platform, serve, "ext4")
    for index in range(2):
        found = platform.until(lambda index=index: shown_by(platform, name, index))
        assert found == [f"{name}-{index}"]


@fact("F190")
def test_replicas_share_a_shared_volume(platform, serve) -> None:
    name = stateful(platform, serve, "shared")
    both = f"{name}-0 {name}-1"
    for index in range(2):
        platform.until(lambda index=index: both in shown_by(platform, name, index))


@fact("F194")
def test_workload_without_a_metric_is_not_scaled(platform, serve) -> None:
    main = container("import time; time.sleep(1000)")
    options = {"autoscaling": {"minScale": 2, "maxScale": 4}, "capacityAI": False}
    link = serve([main], defaultOptions=options)
    platform.until(lambda: len(replicas(platform, link)) == 2)


@fact("F195")
@pytest.mark.parametrize("exists", [False, True], ids=["missing", "not-revealed"])
@pytest.mark.parametrize("kind", ["cron", "standard"])
def test_deployment_names_the_secret_that_it_waits_for(platform, serve, kind, exists) -> None:
    secret = platform.name("secret")
    if exists:
        body = {"name": secret, "type": "dictionary", "data": {"KEY": "hush"}}
        platform.create(f"{platform.org_link}/secret", body)
    env = [{"name": "KEY", "value": f"cpln://secret/{secret}.KEY"}]
    main = container("import time; time.sleep(1000)", env=env)
    if kind == "cron":
        document = platform.workload_document(containers=[main])
        link = platform.create(f"{platform.gvc_link}/workload", document)
    else:
        link = serve([main], ready=False)
    found = platform.until(lambda: secret in str(it := platform.deployment(link)) and it)
    assert not found["ready"]


ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1]).read().decode(), flush=True)
except urllib.error.HTTPError as error:
    print(error.code, flush=True)
"""


@fact("F199")
@pytest.mark.parametrize("allowed", ["same-gvc", "same-org", "workload-list", "none"])
def test_internal_name_leads_to_ready_replicas_if_allowed(platform, serve, allowed) -> None:
    name = platform.name("serves")
    url = f"http://{name}.{platform.gvc}.cpln.local:8080/"
    caller = platform.workload(containers=[container(ASK, url)])
    internal = {"inboundAllowType": allowed}
    if allowed == "workload-list":
        internal["inboundAllowWorkload"] = [caller]
    main = container(WEB, "8080", ports=PORTS)
    callee = serve([main], count=2, name=name, firewallConfig={"internal": internal})
    command = platform.ended(platform.start(caller))
    assert command["lifecycleStage"] == "completed", command["status"]
    (answer,) = platform.until(lambda: lines(platform, caller))
    assert answer in (["403"] if allowed == "none" else replicas(platform, callee))
