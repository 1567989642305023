"""One step each, as Prefect tasks."""
