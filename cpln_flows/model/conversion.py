"""The conversion of manifests under its former name, for programs that import it from here."""

from cpln_flows.manifest.conversion import convert, parse_yaml

__all__ = ["convert", "parse_yaml"]
