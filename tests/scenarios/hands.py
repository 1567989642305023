"""What a worker does, done by hand: flow runs in a cpln pool, and the commands that run them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any, Self

from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import State

from cpln_flows import orchestration
from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.model.identifiers import Owner, Role, Submission, workload_tags
from cpln_flows.model.links import CommandRef, GvcRef, WorkloadRef

GVC = GvcRef("local", "quickstart")


@flow
def nothing() -> None:
    """A flow to make deployments of."""


class Hands:
    """Both sides, opened; use ``async with``."""

    def __init__(self, local) -> None:
        self.local = local
        self.client = CplnClient(local.settings.api())
        self.prefect: PrefectClient = get_client()
        self.pool = f"pool-{uuid.uuid4().hex[:8]}"
        self.deployment: uuid.UUID | None = None
        self.made: list[uuid.UUID] = []

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        await self.prefect.__aenter__()
        await self.prefect.create_work_pool(
            WorkPoolCreate(name=self.pool, type="cpln", base_job_template={})
        )
        flow_id = await self.prefect.create_flow(nothing)
        self.deployment = await self.prefect.create_deployment(
            flow_id, f"d-{self.pool}", work_pool_name=self.pool, entrypoint="x.py:nothing"
        )
        return self

    async def __aexit__(self, *error) -> None:
        # Runs that are left under way would be judged by the syncs of other tests.
        for run in self.made:
            with contextlib.suppress(ObjectNotFound):
                await self.prefect.delete_flow_run(run)
        with contextlib.suppress(ObjectNotFound):
            await self.prefect.delete_work_pool(self.pool)
        await self.prefect.__aexit__(*error)
        await self.client.__aexit__(*error)

    async def run(self, *states: State[Any], **more: Any) -> FlowRun:
        """A flow run of the pool that goes through these states."""
        assert self.deployment is not None
        made = await self.prefect.create_flow_run_from_deployment(self.deployment, **more)
        self.made.append(made.id)
        return await self.become(made, *states)

    async def become(self, run: FlowRun, *states: State[Any], force: bool = False) -> FlowRun:
        for state in states:
            await self.prefect.set_flow_run_state(run.id, state, force=force)
        return await self.prefect.read_flow_run(run.id)

    async def state(self, run: FlowRun) -> State[Any]:
        state = (await self.prefect.read_flow_run(run.id)).state
        assert state is not None
        return state

    async def workload(
        self,
        script: str = "",
        name: str | None = None,
        *,
        sidecar: str | None = None,
        restart: str = "Never",
        **tags: str,
    ) -> WorkloadRef:
        """A workload whose main container runs a Python script."""
        containers = [
            {"name": "main", "image": "python", "command": "python", "args": ["-c", script]}
        ]
        if sidecar:
            containers.append(
                {"name": "sidecar", "image": "python", "command": "python", "args": ["-c", sidecar]}
            )
        body = {
            "kind": "workload",
            "name": name or f"w-{uuid.uuid4().hex[:8]}",
            "tags": {**workload_tags(spec_hash="0", job_type="standard"), **tags},
            "spec": {
                "type": "cron",
                "containers": containers,
                "job": {"schedule": "* * * * *", "restartPolicy": restart},
                "defaultOptions": {"suspend": True, "capacityAI": False},
            },
        }
        await workloads.create(self.client, GVC, body)
        return GVC.workload(body["name"])

    async def container(
        self,
        run: FlowRun,
        workload: WorkloadRef,
        *,
        attempt: int = 0,
        record: bool = True,
        tags: Mapping[str, str] | None = None,
    ) -> CommandRef:
        """The container of a flow run, as a worker starts it."""
        if tags is None:
            owner = Owner(
                run.id,
                "nothing",
                installation=await orchestration.installation(self.prefect),
                agent="hands",
            )
            tags = owner.tags(Role.CONTAINER) | Submission(run.id, attempt).tags
        ref = await self.start(workload, tags)
        if record:
            await self.prefect.update_flow_run(run.id, infrastructure_pid=ref.pid)
        return ref

    async def start(self, workload: WorkloadRef, tags: Mapping[str, str]) -> CommandRef:
        """A job of a workload."""
        return await commands.start(
            self.client, workload, location="local-1", overrides=[], tags=tags
        )

    async def stage(self, ref: CommandRef) -> str:
        return (await commands.read(self.client, ref)).lifecycle_stage

    async def artifact(self, key: str) -> dict[str, Any]:
        """The newest artifact of a key."""
        body = {"artifacts": {"key": {"any_": [key]}}, "sort": "UPDATED_DESC", "limit": 1}
        (found,) = (await self.prefect.request("POST", "/artifacts/filter", json=body)).json()
        return found
