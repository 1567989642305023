"""Prefect and the platform compared: observe both sides, decide what follows, act on it."""
