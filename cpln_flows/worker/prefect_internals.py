"""List every private member of Prefect that the worker relies on, and check that it exists.

Prefect has no public hook where a flow run is proposed as pending, where a worker reports that it
has crashed, or for a run that is taken over. An override of a method that has been renamed would
never be called, and nobody would notice. So the worker checks them when it starts, and reports
which are missing. Verified with Prefect 3.9.1.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from prefect.workers.base import BaseJobConfiguration, BaseWorker

OVERRIDDEN: Mapping[str, tuple[str, ...]] = {
    "_give_worker_labels_to_flow_run": ("flow_run_id",),
    "_initiate_run": ("flow_run", "configuration"),
    "_propose_crashed_state": ("flow_run", "message", "client"),
    "_propose_pending_state": ("flow_run",),
    "_propose_submitting_state": ("flow_run",),
    "_submit_run": ("flow_run",),
}
"""Methods of Prefect's worker, with their parameters."""

CALLED: Mapping[str, tuple[str, ...]] = {"_release_limit_slot": ("flow_run_id",)}
"""Further methods of Prefect's worker, with their parameters."""

OF_CONFIGURATIONS: Mapping[str, tuple[str, ...]] = {
    "_base_environment": (),
    "_base_flow_run_command": (),
}
"""Class methods of Prefect's job configuration, with their parameters."""

ATTRIBUTES: Sequence[str] = (
    "_client",
    "_limiter",
    "_logger",
    "_runs_task_group",
    "_submitting_flow_run_ids",
    "_work_pool",
    "_work_pool_name",
)
"""Attributes that Prefect's worker has once it is created."""

_TABLES: tuple[tuple[type, Mapping[str, tuple[str, ...]]], ...] = (
    (BaseWorker, OVERRIDDEN),
    (BaseWorker, CALLED),
    (BaseJobConfiguration, OF_CONFIGURATIONS),
)


def missing(worker: object) -> list[str]:
    """Return which members this version of Prefect lacks or defines differently.

    Each comes with what was found instead.

    Args:
        worker: A worker, for the attributes that it was created with.

    Example:
        >>> missing(object())[0]
        'BaseWorker._client: not there'
    """
    attributes = [
        f"{BaseWorker.__name__}.{name}: not there"
        for name in ATTRIBUTES
        if not hasattr(worker, name)
    ]
    methods = [
        f"{owner.__name__}.{name}: {wrong}"
        for owner, table in _TABLES
        for name, parameters in table.items()
        if (wrong := _wrong(owner, name, parameters))
    ]
    return [*attributes, *methods]


def _wrong(owner: type, name: str, parameters: tuple[str, ...]) -> str | None:
    method = getattr(owner, name, None)
    if method is None:
        return "not there"
    found = tuple(
        parameter for parameter in inspect.signature(method).parameters if parameter != "self"
    )
    if found == parameters:
        return None
    return f"takes {', '.join(found) or 'nothing'} instead of {', '.join(parameters) or 'nothing'}"
