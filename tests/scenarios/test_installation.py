"""The seed's own installation: its manifests, a Prefect server in them, and a worker that polls it.

Only the images differ, which the local platform does not pull.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cpln_flows.emulator import Platform, PlatformConfig, serve_in_thread
from tests.contract.target import Target
from tests.contract.vendor_cli import VendorCli, install
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import programs

pytestmark = [pytest.mark.xdist_group("installation"), pytest.mark.proof]

LOCATION = "aws-eu-central-1"
POLICIES = """
kind: gvc
name: prefect
spec:
  loadBalancer: {dedicated: false, trustedProxies: 0}
  staticPlacement:
    locationLinks:
      - //location/aws-eu-central-1
---
kind: policy
name: prefect-worker-readlogs-prefect
description: prefect-worker-readlogs-prefect
tags: {}
target: all
targetKind: org
bindings:
  - permissions: [readLogs]
    principalLinks:
      - //gvc/prefect/identity/prefect
---
kind: policy
name: prefect-worker-manage-prefect
tags: {}
target: all
targetKind: workload
bindings:
  - permissions:
      - connect
      - create
      - delete
      - edit
      - exec
      - exec.runCronWorkload
      - exec.stopReplica
      - manage
      - view
    principalLinks:
      - //gvc/prefect/identity/prefect
---
kind: volumeset
name: prefect
gvc: prefect
spec:
  fileSystemType: ext4
  initialCapacity: 10
  performanceClass: general-purpose-ssd
---
kind: identity
name: prefect
gvc: prefect
"""
OPTIONS = """
  defaultOptions:
    capacityAI: false
    debug: false
    suspend: false
    timeoutSeconds: 5
    autoscaling:
      metric: disabled
      minScale: {scale}
      maxScale: {scale}
      maxConcurrency: 0
      scaleToZeroDelay: 300
      target: 100
  firewallConfig:
    external:
      inboundAllowCIDR: []
      inboundBlockedCIDR: []
      outboundAllowCIDR:
        - 0.0.0.0/0
      outboundAllowHostname: []
      outboundAllowPort: []
      outboundBlockedCIDR: []
    internal:
      inboundAllowType: {allow}
      inboundAllowWorkload: []
"""
SERVER = """
kind: workload
name: prefect-server
gvc: prefect
spec:
  type: stateful
  identityLink: //gvc/prefect/identity/prefect
  containers:
    - name: prefect
      image: //image/prefect:3
      cpu: 500m
      memory: 512Mi
      command: prefect
      args:
        - server
        - start
        - "--host"
        - 0.0.0.0
      ports:
        - number: 4200
          protocol: http
      volumes:
        - uri: cpln://volumeset/prefect
          path: /root/.prefect
""" + OPTIONS.strip("\n").format(scale=2, allow="same-org")
WORKER = """
kind: workload
name: prefect-worker
gvc: prefect
spec:
  type: standard
  identityLink: //gvc/prefect/identity/prefect
  containers:
    - name: prefect
      image: //image/prefect:3
      cpu: 500m
      memory: 512Mi
      command: prefect
      args:
        - worker
        - start
        - "--pool"
        - cpln
      env:
        - name: PREFECT_API_URL
          value: http://prefect-server.prefect.cpln.local/api
""" + OPTIONS.strip("\n").format(scale=1, allow="none")


class Installation:
    """A local platform, the vendor's command line, and what a container sees."""

    def __init__(self, platform: Platform, cli: VendorCli, folder: Path) -> None:
        self.platform = platform
        self.cli = cli
        self._folder = folder

    def apply(self, text: str, *more: str) -> str:
        path = self._folder / "manifest.yaml"
        path.write_text(text)
        done = self.cli.run("apply", "-f", str(path), *more)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def replicas(self, workload: str) -> dict[str, Any]:
        return {each.replica: each for each in self.platform.running() if each.workload == workload}

    def ready(self, workload: str, count: int) -> bool:
        states = [each.state for each in self.replicas(workload).values()]
        return states == ["ready"] * count

    def api(self, replica: str, path: str, **body: Any) -> httpx.Response:
        """Ask the Prefect server of one replica at its port on this machine."""
        port = self.replicas("prefect-server")[replica].ports[4200]
        url = f"http://127.0.0.1:{port}/api{path}"
        with httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as client:
            return client.post(url, json=body) if body else client.get(url)

    def workers(self) -> list[dict[str, Any]]:
        return [
            worker
            for replica in self.replicas("prefect-server")
            for worker in self.api(replica, "/work_pools/cpln/workers/filter", limit=5).json()
        ]

    def log(self, workload: str) -> str:
        lines = self.cli.platform.lines(f'{{gvc="prefect", workload="{workload}"}}')
        return "\n".join(lines)


@pytest.fixture
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    program = install(request.config)
    config = PlatformConfig(
        org="acme",
        gvc="dev",
        locations=(LOCATION,),
        token="s.installation",
        tokens={"s.installation": "/org/acme/group/superusers"},
    )
    with serve_in_thread(Platform(config)) as running:
        target = Target(running.url, "s.installation", "acme", "prefect", LOCATION, 0.1)
        yield Installation(
            running.platform, VendorCli(program, target, tmp_path / "home"), tmp_path
        )
        target.http.close()


def test_manifests_of_the_seed_become_a_server_and_a_worker(installation) -> None:
    installation.apply(POLICIES)
    installation.apply(SERVER, "--ready")
    programs.until(lambda: installation.ready("prefect-server", 2))
    # Each of the two has a database of its own, which is what is wrong with these manifests: a pool
    # that is created by name is known to one of them only.
    for replica in installation.replicas("prefect-server"):
        created = installation.api(
            replica, "/work_pools/", name="cpln", type="cpln", base_job_template={}
        )
        assert created.status_code == 201
    installation.apply(WORKER, "--ready")
    programs.until(installation.workers)
    # The seed's policies do not let the identity see its GVC, and the worker reports that.
    programs.until(lambda: 'permission "view" on gvc' in installation.log("prefect-worker"))
    before = installation.replicas("prefect-server")
    installation.cli.run(
        "workload", "replica", "stop", "prefect-server",
        "--location", LOCATION, "--replica-name", "prefect-server-0",
    )  # fmt: skip
    programs.until(
        lambda: (
            installation.ready("prefect-server", 2)
            and installation.replicas("prefect-server")["prefect-server-0"].ports
            != before["prefect-server-0"].ports
        )
    )
    assert installation.api("prefect-server-0", "/work_pools/cpln").status_code == 200, (
        "the database is on the volume"
    )
