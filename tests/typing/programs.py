"""What users write with the public names, and what they must not."""

from __future__ import annotations

from typing import assert_type

from prefect import flow
from prefect.client.schemas.objects import State

from cpln_flows import (
    CplnCredentials,
    CplnInfrastructure,
    CplnInfrastructureResult,
    CplnJob,
    CplnJobRun,
    LogReceipt,
    cleanup_orphaned_workloads,
    list_workloads,
    run_namespaced_job,
    stream_logs,
    sync,
)
from cpln_flows.reconcile.results import FlowResult


@flow
def sync_program() -> str:
    """A sync caller gets values."""
    job = CplnJob.load("nightly")
    assert_type(job, CplnJob)
    run = job.trigger()
    assert_type(run, CplnJobRun)
    run.wait_for_completion(print)
    assert_type(run.fetch_result(), str)
    run.cancel()
    assert_type(sync(dry_run=True), FlowResult)
    assert_type(cleanup_orphaned_workloads("acme", idle_hours=48), FlowResult)
    assert_type(stream_logs(run.infrastructure_pid or ""), LogReceipt)
    list_workloads(CplnCredentials(), "acme", "dev")["items"]
    assert_type(run_namespaced_job(job, return_state=True), State[str])
    return assert_type(run_namespaced_job(job, print_func=print), str)


@flow
async def async_program(job: CplnJob) -> str:
    """An async caller awaits ``aio``."""
    run = await job.trigger.aio(job)
    assert_type(run, CplnJobRun)
    await run.wait_for_completion.aio(run, print)
    assert_type(await run.fetch_result.aio(run), str)
    assert_type(await sync.aio(dry_run=True), FlowResult)
    assert_type(await stream_logs.aio(run.infrastructure_pid or ""), LogReceipt)
    return assert_type(await run_namespaced_job.aio(job), str)


async def infrastructure_program() -> int:
    """The infrastructure block, awaited."""
    block = CplnInfrastructure(
        command=["python", "-V"],
        customizations=CplnInfrastructure.customize_from_file("patch.json"),
    )
    assert_type(block.run(), CplnInfrastructureResult)
    result = await block.run.aio(block)
    await block.kill.aio(block, result.identifier, grace_seconds=10)
    await block.publish_as_work_pool.aio(block, "cpln-infra", overwrite=True)
    return result.status_code


def mistakes(job: CplnJob, run: CplnJobRun) -> None:
    """Each line has one."""
    run_namespaced_job(42)  # type: ignore[call-overload]
    run_namespaced_job(job, nonsense=True)  # type: ignore[call-overload]
    sync(cycels=3)  # type: ignore[call-overload]
    sync(cycles="three")  # type: ignore[call-overload]
    cleanup_orphaned_workloads(idle=3)  # type: ignore[call-overload]
    job.trigger(1)  # type: ignore[call-arg]
    run.wait_for_completion(print_fun=print)  # type: ignore[call-arg]
    stream_logs()  # type: ignore[call-overload]
    stream_logs("pid", limit="ten")  # type: ignore[call-overload]
    list_workloads("acme", "dev")  # type: ignore[call-overload]
    CplnInfrastructure().kill(3)  # type: ignore[arg-type]
    CplnInfrastructure(image="busybox").publish_as_work_pool()  # type: ignore[call-arg]
