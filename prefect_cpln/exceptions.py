"""Errors under prefect-cpln's names."""

from cpln_flows.errors import JobFailedError as CplnJobFailedError
from cpln_flows.errors import JobTimeoutError as CplnJobTimeoutError
from cpln_flows.errors import ManifestError as CplnJobDefinitionError
from cpln_flows.errors import NotFoundError as CplnResourceNotFoundError

__all__ = [
    "CplnJobDefinitionError",
    "CplnJobFailedError",
    "CplnJobTimeoutError",
    "CplnResourceNotFoundError",
]
