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
