"""The blocks: credentials and jobs. Prefect imports this package to register them."""

from cpln_flows.blocks.credentials import CplnConfig, CplnCredentials
from cpln_flows.blocks.job import CplnJob
from cpln_flows.blocks.job_run import CplnJobRun

__all__ = ["CplnConfig", "CplnCredentials", "CplnJob", "CplnJobRun"]
