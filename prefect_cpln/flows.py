"""Flows under prefect-cpln's name."""

from cpln_flows.flows import run_namespaced_job

__all__ = ["run_namespaced_job"]
