"""Workloads that serve: their replicas, probes, ports and names."""
