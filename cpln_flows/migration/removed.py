"""Names of Prefect 2, the fork and prefect-cpln: where each is now, or why it is gone.

This module holds tables only.
"""

from __future__ import annotations

from collections.abc import Mapping

_INFRASTRUCTURE = {
    "CplnInfrastructure": "CplnInfrastructure",
    "CplnInfrastructureConfig": "CplnInfrastructureConfig",
    "CplnInfrastructureResult": "CplnInfrastructureResult",
}
_CREDENTIALS = {
    "CplnClient": "CplnClient",
    "CplnConfig": "CplnConfig",
    "CplnCredentials": "CplnCredentials",
}
_JOBS = {
    name: name
    for name in (
        "CplnJob",
        "CplnJobRun",
        "create_workload",
        "delete_workload",
        "list_workloads",
        "patch_workload",
        "read_workload",
        "replace_workload",
    )
}

MOVED: Mapping[str, Mapping[str, str]] = {
    "prefect.infrastructure": _INFRASTRUCTURE,
    "prefect.infrastructure.cpln": _INFRASTRUCTURE,
    "prefect.blocks.cpln": _CREDENTIALS | _INFRASTRUCTURE,
    "prefect_cpln": _CREDENTIALS
    | _JOBS
    | {"CplnWorker": "CplnWorker", "run_namespaced_job": "run_namespaced_job"},
    "prefect_cpln.credentials": _CREDENTIALS,
    "prefect_cpln.exceptions": {
        "CplnJobDefinitionError": "ManifestError",
        "CplnJobFailedError": "JobFailedError",
        "CplnJobTimeoutError": "JobTimeoutError",
        "CplnResourceNotFoundError": "NotFoundError",
    },
    "prefect_cpln.flows": {"run_namespaced_job": "run_namespaced_job"},
    "prefect_cpln.jobs": _JOBS,
    "prefect_cpln.worker": {"CplnWorker": "CplnWorker"},
}
"""New names in ``cpln_flows`` by old names, by the module that they were imported from."""

_POOL = "Prefect 3 has no infrastructure blocks: deploy to a work pool of that type"
_PULL = "Prefect 3 has no storage blocks: use flow.from_source, or a pull step of the integration"
_NO_DEPLOYMENT = "Prefect 3 has no Deployment class: use flow.from_source(...).deploy(...)"

GONE: Mapping[str, str] = {
    "prefect.agent": (
        "Prefect 3 has no agents: start a worker with `prefect worker start --pool NAME`"
    ),
    "prefect.infrastructure": _POOL,
    "prefect.infrastructure.container": _POOL,
    "prefect.infrastructure.cpln": _POOL,
    "prefect.infrastructure.kubernetes": _POOL,
    "prefect.infrastructure.process": _POOL,
    "prefect.deployments.deployments": _NO_DEPLOYMENT,
    "prefect.filesystems.Azure": _PULL,
    "prefect.filesystems.GCS": _PULL,
    "prefect.filesystems.GitHub": _PULL,
    "prefect.filesystems.S3": _PULL,
    "prefect.orion": "the module is prefect.server since Prefect 2.8",
    "prefect.packaging": "Prefect 3 has no packagers: build an image with flow.deploy(image=...)",
    "prefect.task_runners.ConcurrentTaskRunner": (
        "its name is prefect.task_runners.ThreadPoolTaskRunner"
    ),
    "prefect.task_runners.SequentialTaskRunner": (
        "Prefect 3 has none: ThreadPoolTaskRunner(max_workers=1) is the closest"
    ),
    "prefect.deployments.Deployment": _NO_DEPLOYMENT,
}
"""Modules and names of Prefect 2 that Prefect 3 does not have, and what to do instead."""

KEYWORDS: Mapping[str, str] = {
    "name": "name",
    "description": "description",
    "parameters": "parameters",
    "tags": "tags",
    "version": "version",
    "work_queue_name": "work_queue_name",
    "infra_overrides": "job_variables",
    "job_variables": "job_variables",
    "enforce_parameter_schema": "enforce_parameter_schema",
}
"""Keywords of a Deployment that `deploy` accepts too, with their names there."""

DROPPED = frozenset(
    {"flow_name", "parameter_openapi_schema", "manifest_path", "skip_upload", "timestamp"}
)
"""Keywords of a Deployment that `from_source` reads from the flow itself."""
