"""Commands of a workload: start, stop and query jobs.

Nothing here decides whether to repeat a start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import UnexpectedResponseError
from cpln_flows.model import links
from cpln_flows.model.identifiers import AGENT, ROLE, Role
from cpln_flows.model.lifecycle import TERMINAL_STAGES
from cpln_flows.model.links import CommandRef, WorkloadRef
from cpln_flows.model.resources import Command

RUN = "runCronWorkload"
STOP = "stopReplica"


async def start(
    client: CplnClient,
    workload: WorkloadRef,
    *,
    location: str,
    overrides: Sequence[Mapping[str, Any]],
    tags: Mapping[str, str],
    active_deadline_seconds: int | None = None,
) -> CommandRef:
    """Start a job, with a single request.

    The platform has no idempotency key, so a second request would be a second job.

    Args:
        client: An open client.
        workload: The workload that the job runs on.
        location: Name of the location to run in.
        overrides: One for each container that differs from the workload.
        tags: Tags of the command, by which it can be found if the answer is lost.
        active_deadline_seconds: Time after which the platform itself ends the job.

    Raises:
        TransportError, ServerError, UnexpectedResponseError: It is unknown whether the job was
            started.
        ApiError: The platform refused, so there is no job.
    """
    spec: dict[str, Any] = {"location": location, "containerOverrides": list(overrides)}
    if active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = active_deadline_seconds
    body = {"type": RUN, "tags": dict(tags), "spec": spec}
    location_header = await client.post(
        f"{workload.path}/-command", body, repeat=Repeat.WHEN_REFUSED
    )
    return workload.command(_id_of(location_header, workload))


async def stop(client: CplnClient, workload: WorkloadRef, *, location: str, replica: str) -> None:
    """Request the stop of one replica.

    Sending it twice is harmless: a stop that is already under way is answered with a conflict.
    """
    body = {"type": STOP, "spec": {"location": location, "replica": replica}}
    await client.post(f"{workload.path}/-command", body, repeat=Repeat.ALWAYS)


async def read(client: CplnClient, ref: CommandRef, *, repeat: Repeat = Repeat.ALWAYS) -> Command:
    """Read one command."""
    return await client.read(ref.path, Command, repeat=repeat)


async def with_tags(
    client: CplnClient, workload: WorkloadRef, tags: Mapping[str, str]
) -> list[Command]:
    """Return the jobs of a workload that have all these tags, oldest first."""
    terms = [{"op": "=", "tag": tag, "value": value} for tag, value in tags.items()]
    return await _query(client, workload, terms, order="asc", repeat=Repeat.ALWAYS)


async def since(client: CplnClient, workload: WorkloadRef, created: datetime) -> list[Command]:
    """Return the jobs of a workload created at this time or later, oldest first.

    The request is never repeated.
    """
    terms = [{"op": ">=", "property": "created", "value": _iso(created)}]
    return await _query(client, workload, terms, order="asc", repeat=Repeat.NEVER)


async def active(
    client: CplnClient, workload: WorkloadRef, *, agent: str | None = None
) -> list[Command]:
    """Return the jobs of a workload that have not ended, oldest first.

    The request is never repeated.

    Args:
        client: An open client.
        workload: The workload that the jobs run on.
        agent: Only jobs that this agent has submitted.
    """
    terms = [
        {"op": "!=", "property": "lifecycleStage", "value": str(stage)}
        for stage in sorted(TERMINAL_STAGES)
    ]
    terms += [{"op": "=", "tag": AGENT, "value": agent}] if agent else []
    return await _query(client, workload, terms, order="asc", repeat=Repeat.NEVER)


async def containers_since(
    client: CplnClient, workload: WorkloadRef, created: datetime
) -> list[Command]:
    """Return the containers of flow runs on a workload created at this time or later.

    The request is never repeated.
    """
    terms = [
        {"op": ">=", "property": "created", "value": _iso(created)},
        {"op": "=", "tag": ROLE, "value": str(Role.CONTAINER)},
    ]
    return await _query(client, workload, terms, order="asc", repeat=Repeat.NEVER)


async def stops_since(
    client: CplnClient, workload: WorkloadRef, created: datetime
) -> list[Command]:
    """Return the stops that anybody sent to a workload at this time or later, oldest first.

    The request is never repeated.
    """
    terms = [{"op": ">=", "property": "created", "value": _iso(created)}]
    return await _query(client, workload, terms, order="asc", repeat=Repeat.NEVER, kind=STOP)


async def newest(client: CplnClient, workload: WorkloadRef) -> Command | None:
    """Return the newest job of a workload."""
    return (await latest(client, workload)).newest


async def latest(client: CplnClient, workload: WorkloadRef) -> Latest:
    """Return the newest jobs of a workload, as many as fit into one answer."""
    path = f"{workload.path}/-command/-query"
    items, following = await client.page(path, _body([], order="desc"))
    return Latest(path, items, is_all=following is None)


@dataclass(frozen=True)
class Latest:
    """The newest jobs of a workload, each parsed only when it is needed.

    Attributes:
        source: Where the jobs were read.
        items: The jobs as the platform sent them, newest first.
        is_all: Whether there are no further jobs.
    """

    source: str
    items: list[Any]
    is_all: bool

    @property
    def newest(self) -> Command | None:
        """The newest job."""
        return Command.parse(self.items[0], source=self.source) if self.items else None

    @property
    def active(self) -> list[Command]:
        """The jobs that have not ended."""
        jobs = (Command.parse(item, source=self.source) for item in self.items)
        return [job for job in jobs if not job.is_terminal]


async def _query(
    client: CplnClient,
    workload: WorkloadRef,
    terms: list[dict[str, str]],
    *,
    order: str,
    repeat: Repeat,
    kind: str = RUN,
) -> list[Command]:
    path = f"{workload.path}/-command/-query"
    pages = client.pages(path, _body(terms, order=order, kind=kind), form=Command, repeat=repeat)
    return [command async for page in pages for command in page]


def _body(terms: list[dict[str, str]], *, order: str, kind: str = RUN) -> dict[str, Any]:
    of_kind = {"op": "=", "property": "type", "value": kind}
    return {
        "kind": "command",
        "spec": {
            "match": "all",
            "terms": [of_kind, *terms],
            "sort": {"by": "created", "order": order},
        },
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _id_of(location_header: str, workload: WorkloadRef) -> str:
    if not location_header:
        raise UnexpectedResponseError(
            f"POST {workload.path}/-command: accepted, but without the Location of the command"
        )
    return links.last_segment(location_header)
