"""The former import path of the manifest conversion, kept for programs that still use it."""

from cpln_flows.manifest.conversion import convert, parse_yaml

__all__ = ["convert", "parse_yaml"]
