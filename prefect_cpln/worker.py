"""Worker under prefect-cpln's name."""

from cpln_flows.worker import (
    CplnWorker,
    CplnWorkerJobConfiguration,
    CplnWorkerResult,
    CplnWorkerVariables,
)

__all__ = ["CplnWorker", "CplnWorkerJobConfiguration", "CplnWorkerResult", "CplnWorkerVariables"]
