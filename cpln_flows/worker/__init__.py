"""The worker of type `cpln`, which runs the flow runs of a work pool as jobs on the platform."""

from cpln_flows.worker.configuration import (
    CplnWorkerJobConfiguration,
    CplnWorkerResult,
    CplnWorkerVariables,
)
from cpln_flows.worker.worker import CplnWorker

__all__ = ["CplnWorker", "CplnWorkerJobConfiguration", "CplnWorkerResult", "CplnWorkerVariables"]
