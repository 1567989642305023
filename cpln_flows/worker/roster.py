"""Which worker processes of a pool are alive, by the heartbeats that Prefect's server has stamped.

Prefect keeps one record for each worker name. Two processes of one name share it, and neither can
tell from it whether the other one is alive. So a process whose name was given to it also sends
heartbeats under a name of its own. A process without a given name has a unique one, and needs no
second record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, Worker

from cpln_flows.api.timekeeping import ServerTime
from cpln_flows.orchestration import PAGE
from cpln_flows.worker import processes

WORKER_LABEL = "prefect.worker.name"
RECORD_LABEL = "cpln-flows/worker-record"
PROCESS_LABEL = "cpln-flows/worker-process"

MOST_MISSED = 3
"""How many missed heartbeats mean that a worker is gone; Prefect's server uses the same number."""

_OF_PROCESS = re.compile(r" \(process [0-9a-f]{8}\)\Z")
_USUAL_SECONDS = 30
_LONGEST_SECONDS = 3600


@dataclass(frozen=True)
class Identity:
    """What distinguishes one worker process from all others.

    Args:
        name: The worker's name.
        record: The name under which only this process sends heartbeats.
        process: Lets another process of the same machine check whether this one has ended.
    """

    name: str
    record: str
    process: str = field(default_factory=processes.own)

    @classmethod
    def of(cls, name: str, *, is_given: bool) -> Identity:
        """Return the identity of this process.

        Args:
            name: The worker's name.
            is_given: Whether somebody chose it. Other processes may then have the same name.
        """
        return cls(name, f"{_prefix(name)}{uuid4().hex[:8]})" if is_given else name)

    @property
    def has_own_record(self) -> bool:
        """Whether there is a record besides the one that Prefect keeps."""
        return self.record != self.name

    @property
    def labels(self) -> dict[str, str]:
        """The labels of a flow run that belongs to this process."""
        return {WORKER_LABEL: self.name, RECORD_LABEL: self.record, PROCESS_LABEL: self.process}


def owner(run: FlowRun) -> str | None:
    """Return the record of the worker process that a flow run belongs to.

    That is the worker's own record if the worker does not label its processes.
    """
    name, record = run.labels.get(WORKER_LABEL), run.labels.get(RECORD_LABEL)
    if not isinstance(name, str):
        return None
    # A worker of another version replaces only the name, and leaves the record of the previous
    # process.
    return (
        record
        if isinstance(record, str) and (record == name or record.startswith(_prefix(name)))
        else name
    )


def process_of(run: FlowRun) -> str:
    """Return the process of a flow run, as `processes.has_ended` expects it; empty if unknown."""
    process = run.labels.get(PROCESS_LABEL)
    return (
        process if isinstance(process, str) and owner(run) == run.labels.get(RECORD_LABEL) else ""
    )


def is_of_process(record: str) -> bool:
    """Whether a record is that of one process, kept besides the one that Prefect keeps.

    >>> is_of_process("steady (process 0a1b2c3d)"), is_of_process("steady")
    (True, False)
    """
    return _OF_PROCESS.search(record) is not None


def _prefix(name: str) -> str:
    return f"{name} (process "


@dataclass(frozen=True)
class Heartbeats:
    """The heartbeats of one record: the last one, and the interval between two.

    After a heartbeat with the interval 0, no further one is expected.
    """

    last: datetime
    interval: timedelta

    def are_over(self, now: datetime) -> bool:
        """Whether no further heartbeat is to be expected."""
        return not self.interval or now - self.last > MOST_MISSED * self.interval


@dataclass(frozen=True)
class Roster:
    """The worker processes of a pool.

    Args:
        heartbeats: The heartbeats of each record, newest first.
        now: Prefect's time.
    """

    heartbeats: Mapping[str, Heartbeats]
    now: datetime

    def is_silent(self, record: str) -> bool:
        """Whether a worker process is gone, judged by its heartbeats; an unknown one is gone."""
        found = self.heartbeats.get(record)
        return found is None or found.are_over(self.now)

    def silent(self, within: timedelta) -> dict[str, datetime]:
        """Return the records that fell silent recently, and when each last sent a heartbeat."""
        found = {
            name: beats.last for name, beats in self.heartbeats.items() if beats.are_over(self.now)
        }
        return {name: last for name, last in found.items() if self.now - last <= within}

    def twins(self, me: Identity) -> list[str]:
        """Return the records of other processes of the same name that are not silent."""
        others = [
            name
            for name in self.heartbeats
            if name.startswith(_prefix(me.name)) and name != me.record
        ]
        return [name for name in others if not self.is_silent(name)]

    @property
    def patience(self) -> timedelta:
        """How long a worker of this pool may be silent: three intervals of the slowest live one."""
        alive = [
            beats.interval for beats in self.heartbeats.values() if not beats.are_over(self.now)
        ]
        return MOST_MISSED * max(alive, default=timedelta(seconds=_USUAL_SECONDS))


async def read(client: PrefectClient, pool: str) -> Roster:
    """Read the first page of a pool's roster, which has all workers with recent heartbeats."""
    answer = await client.request(
        "POST",
        "/work_pools/{work_pool_name}/workers/filter",
        path_params={"work_pool_name": pool},
        json={"limit": PAGE, "offset": 0},
    )
    workers = Worker.model_validate_list(answer.json())
    found = {
        worker.name: Heartbeats(worker.last_heartbeat_time, _interval(worker))
        for worker in workers
        if worker.last_heartbeat_time is not None
    }
    clock = ServerTime()
    clock.learn(answer.headers.get("date"))
    return Roster(found, clock.now())


def _interval(worker: Worker) -> timedelta:
    seconds = worker.heartbeat_interval_seconds
    return timedelta(
        seconds=_USUAL_SECONDS if seconds is None else min(max(seconds, 0), _LONGEST_SECONDS)
    )


async def send_heartbeat(client: PrefectClient, pool: str, record: str, seconds: float) -> None:
    """Send a heartbeat; the next one follows after this many seconds, and none follows after 0."""
    await client.send_worker_heartbeat(pool, record, heartbeat_interval_seconds=seconds)


async def delete(client: PrefectClient, pool: str, record: str) -> None:
    """Delete a record."""
    path = {"work_pool_name": pool, "name": quote(record, safe="")}
    await client.request("DELETE", "/work_pools/{work_pool_name}/workers/{name}", path_params=path)
