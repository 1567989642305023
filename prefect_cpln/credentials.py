"""Credentials under prefect-cpln's names."""

from cpln_flows.api.client import CplnClient
from cpln_flows.blocks import CplnConfig, CplnCredentials

__all__ = ["CplnClient", "CplnConfig", "CplnCredentials"]
