"""Kubernetes Jobs: what becomes of each of their fields. Pure."""
