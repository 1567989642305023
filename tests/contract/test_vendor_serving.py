"""Workloads that serve, driven by the vendor's command line."""

import json
from pathlib import Path

import pytest
import yaml

from tests.contract.target import Target
from tests.contract.vendor_cli import VendorCli, install

pytestmark = pytest.mark.xdist_group("vendor-cli")

SERVER = (
    "import os, http.server, sys; http.server.test(port=int(os.environ['PORT']), bind='127.0.0.1')"
)


@pytest.fixture(scope="module")
def cli(
    platform: Target, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> VendorCli:
    return VendorCli(install(request.config), platform, tmp_path_factory.mktemp("cpln-home"))


class Service:
    """A workload with two replicas, as the command line applied it."""

    def __init__(self, cli: VendorCli, name: str) -> None:
        self.cli = cli
        self.platform = cli.platform
        self.name = name
        self.link = f"{cli.platform.gvc_link}/workload/{name}"

    def run(self, command: str, *more: str, code: int = 0) -> str:
        done = self.cli.run(*command.format(name=self.name).split(), *more)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout

    def replicas(self) -> list[str]:
        location = self.platform.location
        found = self.run(f"workload replica get {{name}} --location {location} -o json")
        return list(json.loads(found)["items"])

    def ready(self, replicas: int = 2) -> list[str]:
        """Wait until so many replicas are ready in the newest version; return their names."""

        def is_done() -> bool:
            (deployment,) = [
                each["status"]
                for each in self.platform.get(f"{self.link}/deployment")["items"]
                if each["name"] == self.platform.location
            ]
            version = self.platform.get(self.link)["version"]
            return (
                deployment["ready"]
                and not deployment["deploying"]
                and deployment["desiredScale"] == replicas
                and deployment["lastProcessedVersion"] >= version
            )

        assert self.platform.until(is_done)
        return self.replicas()


def manifest(name: str, kind: str) -> str:
    container = {
        "name": "main",
        "image": "python:3.12-slim",
        "command": "python",
        "args": ["-c", SERVER],
        "ports": [{"number": 8080, "protocol": "http"}],
    }
    scaling = {"metric": "disabled", "minScale": 2, "maxScale": 2}
    document = {
        "kind": "workload",
        "name": name,
        "spec": {
            "type": kind,
            "containers": [container],
            "defaultOptions": {"autoscaling": scaling, "capacityAI": False},
        },
    }
    return yaml.safe_dump(document)


STATEFUL = pytest.param("stateful", marks=pytest.mark.proof)


@pytest.fixture(params=["standard", STATEFUL])
def service(cli: VendorCli, request: pytest.FixtureRequest, tmp_path: Path) -> Service:
    name = cli.platform.name("serving")
    path = tmp_path / "workload.yaml"
    path.write_text(manifest(name, request.param))
    service = Service(cli, name)
    cli.platform.remember(service.link)
    service.run("apply --ready -f", str(path))
    return service


@pytest.mark.parametrize("service", ["standard", "stateful"], indirect=True)
@pytest.mark.fact("F078", "F079", "F147", "F148")
def test_applied_workload_is_ready_with_its_replicas(service) -> None:
    assert len(service.replicas()) == 2, "apply --ready has waited for them"
    (line,) = [line for line in service.run("workload get {name}").splitlines() if "|true" in line]
    assert service.name in line
    document = service.platform.get(service.link)
    assert document["status"]["internalName"].startswith(f"{service.name}.{service.platform.gvc}.")
    assert document["health"]["readyReplicas"] >= 2
    if document["spec"]["type"] == "stateful":
        assert service.replicas() == [f"{service.name}-0", f"{service.name}-1"]


def test_commands_scale_restart_suspend_and_stop(service) -> None:
    before = service.ready()
    service.run("workload force-redeployment {name}")
    restarted = service.ready()
    is_stateful = service.platform.get(service.link)["spec"]["type"] == "stateful"
    assert (set(restarted) == set(before)) is is_stateful
    service.run("workload update {name} --set spec.defaultOptions.autoscaling.minScale=1")
    (left,) = service.ready(replicas=1)
    assert left in restarted
    location = service.platform.location
    service.run(f"workload replica stop {{name}} --location {location} --replica-name {left}")
    service.run("workload stop {name}")
    assert service.platform.until(lambda: not service.replicas()) is True
    service.run("workload start {name}")
    assert len(service.ready(replicas=1)) == 1


def test_exec_runs_a_command_in_a_replica(service) -> None:
    first = service.ready()[0]
    where = ["--location", service.platform.location, "--replica", first, "--"]
    show = "import os; print(os.environ['CPLN_NAME'])"
    shown = service.run("workload exec {name}", *where, "python", "-c", show)
    assert shown.strip() == first
    service.run("workload exec {name}", *where, "python", "-c", "raise SystemExit(7)", code=7)
    refused = service.run("workload exec {name}", *where, "no-such-program", code=1)
    assert "no-such-program" in refused
