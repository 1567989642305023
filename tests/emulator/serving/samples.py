"""What the tests of serving share: workloads in a store, and replicas with their containers."""

from cpln_flows.emulator.links import collection_link
from cpln_flows.emulator.runs import ContainerState
from cpln_flows.emulator.serving.health import Health
from cpln_flows.emulator.serving.replica import Replica, ServingContainer
from cpln_flows.emulator.store import Store

ORG = "local"
PORT = 8080


def container_document(name="main", **fields):
    return {"name": name, "image": f"{name}:1", "ports": [{"number": PORT}], **fields}


def spec_of(kind="standard", containers=None, **fields):
    return {"type": kind, "containers": containers or [container_document()], **fields}


def add_gvc(store: Store, name="prod", **fields):
    scope = collection_link(ORG, "gvc")
    return store.add(kind="gvc", scope=scope, name=name, document={"name": name, **fields})


def add_workload(store: Store, name="web", gvc="prod", spec=None):
    return store.add(
        kind="workload",
        scope=collection_link(ORG, "workload", gvc),
        name=name,
        gvc=gvc,
        document={"name": name, "spec": spec or spec_of()},
    )


def serving_container(name="main", *, running=True, passing=True, reason="", ports=None):
    return ServingContainer(
        state=ContainerState(name, f"{name}:1", "50m", "128Mi", running=running),
        readiness=None,
        liveness=None,
        ready=Health(passing, reason=reason),
        alive=Health(is_passing=True),
        ports=ports or {},
    )


def make_replica(workload, name, *, containers=None, **fields):
    given = {
        "location": "local-1",
        "index": None,
        "version": 1,
        "template": "t",
        "spec": workload.document["spec"],
        **fields,
    }
    return Replica(
        workload=workload,
        replica=name,
        key=name,
        containers={each.state.name: each for each in containers or [serving_container()]},
        **given,
    )
