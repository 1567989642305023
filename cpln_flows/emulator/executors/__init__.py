"""Executors, which run containers as real processes or by scripts.

The platform decides when; the executors act.
"""
