"""The flows that keep Prefect and the platform in agreement, as decided in ``reconcile.decide``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar, Literal

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict, Field

from cpln_flows import failure_states, sync_compat
from cpln_flows.blocks.credentials import CplnCredentials
from cpln_flows.model.field_errors import ClearErrors
from cpln_flows.model.identifiers import Area
from cpln_flows.model.policy import Limits, Policy
from cpln_flows.reconcile import cycles as both
from cpln_flows.reconcile.results import FlowResult
from cpln_flows.reconcile.snapshot import BOTH, TO_CPLN, TO_PREFECT, Scope
from cpln_flows.settings import CplnSettings
from cpln_flows.tasks import reconcile as steps
from cpln_flows.tasks.connection import place

_SETTINGS = {
    "failed_as": "failed_as",
    "completed_grace_seconds": "report_grace_seconds",
    "cancel_grace_seconds": "cancel_grace_seconds",
    "stop_grace_seconds": "final_grace_seconds",
    "submission_limit_seconds": "submission_limit_seconds",
    "escalate_after_seconds": "escalate_after_seconds",
    "misses": "misses",
}
"""The setting behind each option that has one."""


class SyncOptions(BaseModel, metaclass=ClearErrors):
    """What the sync flows look at, how patient they are, and how much they may change.

    Attributes:
        agent: Look only at jobs of one submitter, as named in the tag ``cpln/prefectAgent``.
            Default: all.
        work_pool: Look only at flow runs of one work pool, and at their jobs. Default: all pools of
            type ``cpln``.
        adopt: Whether active jobs without an installation tag, such as the fork's, are included.
        failed_as: State of a flow run whose job failed. Default: ``CPLN_FAILED_AS`` (CRASHED).
        completed_grace_seconds: How long ago a job must have ended before it determines the state
            of its run; the engine reports first. Default: ``CPLN_REPORT_GRACE`` (30).
        cancel_grace_seconds: How long a run may be cancelling before its job is stopped; a
            supervisor in the container cancels the flow by itself. Default: ``CPLN_CANCEL_GRACE``
            (60).
        stop_grace_seconds: How long ago a run must have ended before its job is stopped; hooks and
            uploads run in that time. Default: ``CPLN_FINAL_GRACE`` (120).
        submission_limit_seconds: How long a run may be pending without any command. Default:
            ``CPLN_SUBMISSION_LIMIT`` (900).
        escalate_after_seconds: How long a stopped job may take to end before that is reported and
            it is stopped again. Default: ``CPLN_ESCALATE_AFTER`` (300).
        misses: How many 404s in a row, one in each cycle, make a job lost. Default: ``CPLN_MISSES``
            (5).
        max_changes: How many changes one cycle may make.
        max_share: Share of the observed objects that one cycle may change, once that is more than
            ten.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    agent: str | None = None
    work_pool: str | None = None
    adopt: bool = False
    failed_as: Literal["CRASHED", "FAILED"] | None = None
    completed_grace_seconds: float | None = Field(default=None, ge=0)
    cancel_grace_seconds: float | None = Field(default=None, ge=0)
    stop_grace_seconds: float | None = Field(default=None, ge=0)
    submission_limit_seconds: float | None = Field(default=None, ge=0)
    escalate_after_seconds: float | None = Field(default=None, ge=0)
    misses: int | None = Field(default=None, ge=1)
    max_changes: int = Field(default=500, ge=0)
    max_share: float = Field(default=0.5, ge=0, le=1)

    def policy(self, settings: CplnSettings) -> Policy:
        """Return the thresholds for the decisions; an option overrides its setting.

        Args:
            settings: The values that apply where no option is given.
        """
        given = self.model_dump(include=set(_SETTINGS), exclude_none=True)
        chosen = settings.model_copy(
            update={_SETTINGS[name]: value for name, value in given.items()}
        )
        return replace(chosen.policy(), limits=Limits(self.max_changes, self.max_share))


async def _sync_cpln_to_prefect(
    org: str | None = None,
    *,
    gvc: str | None = None,
    credentials: CplnCredentials | None = None,
    options: SyncOptions | None = None,
    cycles: int = 1,
    dry_run: bool = False,
) -> FlowResult | State[Any]:
    """Update flow runs to the state of their jobs on the platform.

    Args:
        org: Organization. Default: ``CPLN_ORG``.
        gvc: The only GVC to look at. Default: all GVCs of the organization.
        credentials: Credentials to use. Default: ``CPLN_TOKEN``.
        options: What to look at, the grace periods and the limits.
        cycles: How many cycles to run, ``PREFECT_AGENT_CPLN_MONITOR_INTERVAL`` (60) seconds apart.
            A run of a deployment continues until its successor is due.
        dry_run: Whether to do nothing and only show the plan: in the log, as an artifact, and in
            the result.

    Returns:
        How many cycles, actions and changes there were, and how much could not be read. The result
        of a dry run also holds the plan, as ``planned``, and prints as a table.

    Raises:
        LimitExceededError: A cycle would have changed more than it may; not raised in a dry run.

    Example:
        ```python
        from cpln_flows import sync_cpln_to_prefect

        print(sync_cpln_to_prefect(dry_run=True))
        ```
    """
    work = _run({TO_PREFECT}, org, gvc, credentials, options, cycles=cycles, dry_run=dry_run)
    return await failure_states.reported(work, TO_PREFECT)


async def _sync_prefect_to_cpln(
    org: str | None = None,
    *,
    gvc: str | None = None,
    credentials: CplnCredentials | None = None,
    options: SyncOptions | None = None,
    cycles: int = 1,
    dry_run: bool = False,
) -> FlowResult | State[Any]:
    """Stop jobs on the platform whose flow runs are over.

    Args:
        org: Organization. Default: ``CPLN_ORG``.
        gvc: The only GVC to look at. Default: all GVCs of the organization.
        credentials: Credentials to use. Default: ``CPLN_TOKEN``.
        options: What to look at, the grace periods and the limits.
        cycles: How many cycles to run, ``PREFECT_AGENT_CPLN_MONITOR_INTERVAL`` (60) seconds apart.
            A run of a deployment continues until its successor is due.
        dry_run: Whether to do nothing and only show the plan: in the log, as an artifact, and in
            the result.

    Returns:
        How many cycles, actions and changes there were, and how much could not be read. The result
        of a dry run also holds the plan, as ``planned``, and prints as a table.

    Raises:
        LimitExceededError: A cycle would have changed more than it may; not raised in a dry run.

    Example:
        ```python
        from cpln_flows import sync_prefect_to_cpln

        print(sync_prefect_to_cpln(dry_run=True))
        ```
    """
    work = _run({TO_CPLN}, org, gvc, credentials, options, cycles=cycles, dry_run=dry_run)
    return await failure_states.reported(work, TO_CPLN)


async def _sync(
    org: str | None = None,
    *,
    gvc: str | None = None,
    credentials: CplnCredentials | None = None,
    options: SyncOptions | None = None,
    cycles: int = 1,
    dry_run: bool = False,
) -> FlowResult | State[Any]:
    """Keep Prefect and the platform in agreement, in both directions.

    Args:
        org: Organization. Default: ``CPLN_ORG``.
        gvc: The only GVC to look at. Default: all GVCs of the organization.
        credentials: Credentials to use. Default: ``CPLN_TOKEN``.
        options: What to look at, the grace periods and the limits.
        cycles: How many cycles to run, ``PREFECT_AGENT_CPLN_MONITOR_INTERVAL`` (60) seconds apart.
            A run of a deployment continues until its successor is due.
        dry_run: Whether to do nothing and only show the plan: in the log, as an artifact, and in
            the result.

    Returns:
        How many cycles, actions and changes there were, and how much could not be read. The result
        of a dry run also holds the plan, as ``planned``, and prints as a table.

    Raises:
        LimitExceededError: A cycle would have changed more than it may; not raised in a dry run.

    Example:
        ```python
        from cpln_flows import sync

        print(sync(dry_run=True))
        ```
    """
    work = _run(BOTH, org, gvc, credentials, options, cycles=cycles, dry_run=dry_run)
    return await failure_states.reported(work, TO_PREFECT)


async def _run(
    areas: Iterable[Area],
    org: str | None,
    gvc: str | None,
    credentials: CplnCredentials | None,
    options: SyncOptions | None,
    *,
    cycles: int,
    dry_run: bool,
) -> FlowResult:
    settings = CplnSettings.load()
    options = options or SyncOptions()
    org, gvc = place(org, gvc, settings)
    reconciling = both.reconciler(
        (credentials or CplnCredentials()).get_client(),
        Scope(org, gvc, options.agent, options.work_pool, options.adopt),
        options.policy(settings),
        get_run_logger(),
        areas=frozenset(areas),
        cycles=cycles,
        dry_run=dry_run,
    )
    async with reconciling as reconciler:
        async for _ in reconciler.cycles():
            snapshot = await reconciler.observe()
            plan = reconciler.decide(snapshot)
            await steps.act(reconciler, snapshot, plan)
    return reconciler.result()


# Named differently from its function: otherwise Prefect would pack the functions by value, without
# the names in their signatures.
sync_cpln_to_prefect = sync_compat.flow(_sync_cpln_to_prefect, name="sync-cpln-to-prefect")
sync_prefect_to_cpln = sync_compat.flow(_sync_prefect_to_cpln, name="sync-prefect-to-cpln")
sync = sync_compat.flow(_sync, name="sync")
