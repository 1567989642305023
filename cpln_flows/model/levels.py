"""Which level a line of a job's log has in Prefect's logs, by the words in it."""

from __future__ import annotations

from collections.abc import Mapping

LEVELS: Mapping[str, str] = {
    r"\b(CRITICAL|FATAL)\b": "CRITICAL",
    r"\bERROR\b": "ERROR",
    r"\bWARN(ING)?\b": "WARNING",
    r"\bDEBUG\b": "DEBUG",
}
"""Which words in a line mean which level; the first that fits counts, and what fits none is INFO."""
