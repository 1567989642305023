"""Deploy with `prefect deploy`: the project's file, and the steps that Prefect calls by name."""

from __future__ import annotations

from cpln_flows.deploy.image import build_image, push_image
from cpln_flows.deploy.project import from_environment, prefect_yaml

__all__ = ["build_image", "from_environment", "prefect_yaml", "push_image"]
