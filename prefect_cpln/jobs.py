"""Job block and tasks for workloads under prefect-cpln's names."""

from cpln_flows.blocks import CplnJob, CplnJobRun
from cpln_flows.tasks.workloads import (
    create_workload,
    delete_workload,
    list_workloads,
    patch_workload,
    read_workload,
    replace_workload,
)

__all__ = [
    "CplnJob",
    "CplnJobRun",
    "create_workload",
    "delete_workload",
    "list_workloads",
    "patch_workload",
    "read_workload",
    "replace_workload",
]
