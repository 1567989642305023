"""The blocks: credentials, jobs and infrastructure.

Prefect imports this package to register them.
"""

from cpln_flows.blocks.credentials import CplnConfig, CplnCredentials
from cpln_flows.blocks.infrastructure import (
    CplnInfrastructure,
    CplnInfrastructureConfig,
    CplnInfrastructureResult,
)
from cpln_flows.blocks.job import CplnJob
from cpln_flows.blocks.job_run import CplnJobRun

__all__ = [
    "CplnConfig",
    "CplnCredentials",
    "CplnInfrastructure",
    "CplnInfrastructureConfig",
    "CplnInfrastructureResult",
    "CplnJob",
    "CplnJobRun",
]
