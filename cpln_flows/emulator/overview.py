"""Everything that runs on a platform now, as a person wants to see it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cpln_flows.emulator.runs import Run
from cpln_flows.emulator.serving.replica import Replica

ReplicaState = Literal["pending", "running", "ready", "stopping"]


@dataclass(frozen=True, slots=True)
class RunningReplica:
    """One replica: of a serving workload, or of an execution of a cron workload.

    Attributes:
        org: Bare name of its organization.
        gvc: Bare name of its GVC.
        workload: Bare name of its workload.
        location: Bare name of its location.
        replica: Its name.
        state: ``pending`` before it runs, ``ready`` when requests may be sent to it.
        ports: The port on this machine of each port that its containers declare.
        restarts: How often its containers were started again.
        problem: Why it is not ready, as far as that is known.
        endpoint: The canonical endpoint of its workload, if it has one.
    """

    org: str
    gvc: str
    workload: str
    location: str
    replica: str
    state: ReplicaState
    ports: Mapping[int, int]
    restarts: int
    problem: str
    endpoint: str = ""


def running_replicas(
    org: str, replicas: Iterable[Replica], runs: Iterable[Run], endpoints: Mapping[str, str]
) -> list[RunningReplica]:
    """Return what runs, by workload and name.

    Args:
        org: Bare name of the organization.
        replicas: The replicas of serving workloads.
        runs: The executions that have not ended.
        endpoints: The canonical endpoints by the links of their workloads.
    """
    found = [
        *(_of_service(org, each, endpoints.get(each.workload.link, "")) for each in replicas),
        *(_of_run(org, each) for each in runs),
    ]
    return sorted(found, key=lambda each: (each.gvc, each.workload, each.location, each.replica))


def _of_service(org: str, replica: Replica, endpoint: str) -> RunningReplica:
    return RunningReplica(
        org=org,
        gvc=str(replica.workload.gvc),
        workload=replica.workload.name,
        location=replica.location,
        replica=replica.replica,
        state=_state_of_service(replica),
        ports=replica.ports,
        restarts=replica.restarts,
        problem="" if replica.is_ready else replica.problem,
        endpoint=endpoint,
    )


def _state_of_service(replica: Replica) -> ReplicaState:
    if replica.is_stopping:
        return "stopping"
    if replica.is_ready:
        return "ready"
    is_running = any(each.state.running for each in replica.containers.values())
    return "running" if is_running else "pending"


def _of_run(org: str, run: Run) -> RunningReplica:
    is_running = any(each.running for each in run.containers.values())
    return RunningReplica(
        org=org,
        gvc=str(run.workload.gvc),
        workload=run.workload.name,
        location=run.location,
        replica=run.replica,
        state="running" if is_running else "pending",
        ports={},
        restarts=sum(each.restarts for each in run.containers.values()),
        problem="; ".join(each.message for each in run.containers.values() if each.message),
    )
