"""The flows: what users run, deploy and schedule."""

from cpln_flows.flows.run_job import run_namespaced_job

__all__ = ["run_namespaced_job"]
