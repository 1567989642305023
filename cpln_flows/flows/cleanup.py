"""The flow that deletes what nobody uses anymore, as decided in ``cleanup.decide``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State

from cpln_flows import failure_states, sync_compat
from cpln_flows.blocks.credentials import CplnCredentials
from cpln_flows.cleanup import decide, report
from cpln_flows.cleanup.delete import Deleter
from cpln_flows.cleanup.observe import Observer
from cpln_flows.errors import LimitExceededError
from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area
from cpln_flows.model.policy import Limits
from cpln_flows.reconcile.clocks import platform_skew
from cpln_flows.reconcile.cycles import validate
from cpln_flows.reconcile.results import FlowResult
from cpln_flows.settings import CplnSettings
from cpln_flows.tasks import reconcile as steps
from cpln_flows.tasks.connection import place


async def _cleanup_orphaned_workloads(
    org: str | None = None,
    *,
    gvc: str | None = None,
    credentials: CplnCredentials | None = None,
    idle_hours: float = 24,
    max_deletions: int = 200,
    max_share: float = 1,
    dry_run: bool = False,
) -> FlowResult | State[Any]:
    """Delete idle workloads that were made for Prefect, with their companions.

    A workload is idle if nothing ran on it for ``idle_hours``. Its identities, policies and secrets
    are deleted too. Nothing is deleted that has an active job, runs on its own schedule, or could
    not be read.

    Args:
        org: Organization. Default: ``CPLN_ORG``.
        gvc: The only GVC to look at. Default: all GVCs of the organization.
        credentials: Credentials to use. Default: ``CPLN_TOKEN``.
        idle_hours: How many hours a workload must have been idle. Jobs are started on workloads
            that were idle for up to 20 hours: with less than 24, a job may be started and deleted
            at once.
        max_deletions: How much one run may delete.
        max_share: Share of the observed objects that one run may delete, once that is more than
            ten.
        dry_run: Whether to delete nothing and only show the plan: in the log, as an artifact, and
            in the result.

    Returns:
        How many objects were deleted, were kept, failed and could not be read. The result of a dry
        run also holds the plan, as ``planned``, and prints as a table.

    Raises:
        LimitExceededError: The run would have deleted more than it may; not raised in a dry run.

    Example:
        ```python
        from cpln_flows import cleanup_orphaned_workloads

        print(cleanup_orphaned_workloads(dry_run=True))
        ```
    """
    limits, idle = Limits(max_deletions, max_share), timedelta(hours=idle_hours)
    return await failure_states.reported(
        _sweep(org, gvc, credentials, idle, limits, dry_run=dry_run), Area.CLEANUP
    )


async def _sweep(
    org: str | None,
    gvc: str | None,
    credentials: CplnCredentials | None,
    idle: timedelta,
    limits: Limits,
    *,
    dry_run: bool,
) -> FlowResult:
    logger = get_run_logger()
    org, gvc = place(org, gvc, CplnSettings.load())
    async with (credentials or CplnCredentials()).get_client() as client:
        observer = Observer(client, org, gvc, idle, client.now)
        await validate(client, org, gvc, logger)
        if sentence := platform_skew(client):
            Journal(logger).warning(Area.INIT, sentence)
        inventory = await observer.inventory()
        sweep = decide.sweep(inventory, limits, idle)
        await report.manifests(sweep, dry_run=dry_run)
        deleted = () if dry_run else await steps.delete(Deleter(observer, logger), sweep)
    await report.of_sweep(sweep, deleted, logger, dry_run=dry_run)
    if sweep.withheld and not dry_run:
        raise LimitExceededError(
            f"nothing was deleted: {sweep.withheld}. The artifact {report.CLEANUP} shows the plan;"
            " raise max_deletions or max_share if it is right"
        )
    done = sum(deletion.done for deletion in deleted)
    counts = {
        "deleted": done,
        "kept": sweep.kept,
        "failed": len(deleted) - done,
        "unread": len(sweep.unread),
    }
    if not dry_run:
        return FlowResult(counts)
    summary = report.sweep_summary(sweep) + (
        f"; withheld: {sweep.withheld}" if sweep.withheld else ""
    )
    rows = [
        {"action": "delete", "object": deletion.link, "reason": deletion.reason}
        for deletion in sweep.deletions
    ]
    return FlowResult.of_dry_run(counts, summary, rows)


# Named differently from its function: otherwise Prefect would pack the function by value, without
# the names in its signature.
cleanup_orphaned_workloads = sync_compat.flow(
    _cleanup_orphaned_workloads, name="cleanup-orphaned-workloads"
)
