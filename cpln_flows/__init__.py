"""Run Control Plane jobs as Prefect flows, stream their logs and keep both sides in agreement."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpln_flows.api.client import CplnClient
    from cpln_flows.blocks.credentials import CplnConfig, CplnCredentials
    from cpln_flows.blocks.infrastructure import (
        CplnInfrastructure,
        CplnInfrastructureConfig,
        CplnInfrastructureResult,
    )
    from cpln_flows.blocks.job import CplnJob
    from cpln_flows.blocks.job_run import CplnJobRun
    from cpln_flows.errors import (
        ApiError,
        ConfigurationError,
        ConflictError,
        CplnError,
        ForbiddenError,
        ImageError,
        JobAccessLostError,
        JobCancelledError,
        JobError,
        JobFailedError,
        JobLostError,
        JobTimeoutError,
        LimitExceededError,
        LogStreamError,
        ManifestError,
        NotFoundError,
        RateLimitedError,
        ServerError,
        SubmissionUnknownError,
        TransportError,
        UnauthorizedError,
        UnexpectedResponseError,
    )
    from cpln_flows.flows.cleanup import cleanup_orphaned_workloads
    from cpln_flows.flows.run_job import run_namespaced_job
    from cpln_flows.flows.sync import SyncOptions, sync, sync_cpln_to_prefect, sync_prefect_to_cpln
    from cpln_flows.logs.cursor import Cursor
    from cpln_flows.logs.receipt import LogReceipt
    from cpln_flows.settings import CplnSettings
    from cpln_flows.tasks.commands import list_commands, read_command, start_command, stop_command
    from cpln_flows.tasks.logs import stream_logs
    from cpln_flows.tasks.manifests import apply_manifests, delete_manifests
    from cpln_flows.tasks.secrets import list_images, reveal_secret, upsert_secret
    from cpln_flows.tasks.workloads import (
        create_workload,
        delete_workload,
        list_workloads,
        patch_workload,
        read_workload,
        replace_workload,
    )
    from cpln_flows.worker import CplnWorker

__all__ = [
    "ApiError",
    "ConfigurationError",
    "ConflictError",
    "CplnClient",
    "CplnConfig",
    "CplnCredentials",
    "CplnError",
    "CplnInfrastructure",
    "CplnInfrastructureConfig",
    "CplnInfrastructureResult",
    "CplnJob",
    "CplnJobRun",
    "CplnSettings",
    "CplnWorker",
    "Cursor",
    "ForbiddenError",
    "ImageError",
    "JobAccessLostError",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobLostError",
    "JobTimeoutError",
    "LimitExceededError",
    "LogReceipt",
    "LogStreamError",
    "ManifestError",
    "NotFoundError",
    "RateLimitedError",
    "ServerError",
    "SubmissionUnknownError",
    "SyncOptions",
    "TransportError",
    "UnauthorizedError",
    "UnexpectedResponseError",
    "apply_manifests",
    "cleanup_orphaned_workloads",
    "create_workload",
    "delete_manifests",
    "delete_workload",
    "list_commands",
    "list_images",
    "list_workloads",
    "patch_workload",
    "read_command",
    "read_workload",
    "replace_workload",
    "reveal_secret",
    "run_namespaced_job",
    "start_command",
    "stop_command",
    "stream_logs",
    "sync",
    "sync_cpln_to_prefect",
    "sync_prefect_to_cpln",
    "upsert_secret",
]

_HOMES = {
    "CplnClient": "cpln_flows.api.client",
    "CplnConfig": "cpln_flows.blocks.credentials",
    "CplnCredentials": "cpln_flows.blocks.credentials",
    "CplnInfrastructure": "cpln_flows.blocks.infrastructure",
    "CplnInfrastructureConfig": "cpln_flows.blocks.infrastructure",
    "CplnInfrastructureResult": "cpln_flows.blocks.infrastructure",
    "CplnJob": "cpln_flows.blocks.job",
    "CplnJobRun": "cpln_flows.blocks.job_run",
    "CplnSettings": "cpln_flows.settings",
    "CplnWorker": "cpln_flows.worker",
    "Cursor": "cpln_flows.logs.cursor",
    "LogReceipt": "cpln_flows.logs.receipt",
    "SyncOptions": "cpln_flows.flows.sync",
    "apply_manifests": "cpln_flows.tasks.manifests",
    "cleanup_orphaned_workloads": "cpln_flows.flows.cleanup",
    "create_workload": "cpln_flows.tasks.workloads",
    "delete_manifests": "cpln_flows.tasks.manifests",
    "delete_workload": "cpln_flows.tasks.workloads",
    "list_commands": "cpln_flows.tasks.commands",
    "list_images": "cpln_flows.tasks.secrets",
    "list_workloads": "cpln_flows.tasks.workloads",
    "patch_workload": "cpln_flows.tasks.workloads",
    "read_command": "cpln_flows.tasks.commands",
    "read_workload": "cpln_flows.tasks.workloads",
    "replace_workload": "cpln_flows.tasks.workloads",
    "reveal_secret": "cpln_flows.tasks.secrets",
    "run_namespaced_job": "cpln_flows.flows.run_job",
    "start_command": "cpln_flows.tasks.commands",
    "stop_command": "cpln_flows.tasks.commands",
    "stream_logs": "cpln_flows.tasks.logs",
    "sync": "cpln_flows.flows.sync",
    "sync_cpln_to_prefect": "cpln_flows.flows.sync",
    "sync_prefect_to_cpln": "cpln_flows.flows.sync",
    "upsert_secret": "cpln_flows.tasks.secrets",
}


def __getattr__(name: str) -> Any:
    # Prefect takes seconds to import; the local platform and the command line do not need it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "cpln_flows.errors")), name)


def __dir__() -> list[str]:
    return __all__
