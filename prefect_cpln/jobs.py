"""Job block under prefect-cpln's name."""

from cpln_flows.blocks import CplnJob, CplnJobRun

__all__ = ["CplnJob", "CplnJobRun"]
