"""Control Plane jobs as Prefect flows."""
