"""Prefect tasks, each of which does one step."""
