"""The Prefect log level of a job's log line, derived from the words in it."""

from __future__ import annotations

from collections.abc import Mapping

LEVELS: Mapping[str, str] = {
    r"\b(CRITICAL|FATAL)\b": "CRITICAL",
    r"\bERROR\b": "ERROR",
    r"\bWARN(ING)?\b": "WARNING",
    r"\bDEBUG\b": "DEBUG",
}
"""Patterns and their levels. The first match counts; a line that matches none is INFO."""
