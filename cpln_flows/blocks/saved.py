"""What the documents of saved blocks hold for fields that were not given."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr


def without_empty(values: Any, *names: str) -> Any:
    """Return the fields of a block without those that are null or empty, so that defaults apply.

    For a value that was to come from the environment of the job, prefect-cpln saved null, and
    Prefect's pages save an empty string.

    Args:
        values: The fields, as pydantic gets them; anything else is returned unchanged.
        names: The fields that have a default to fall back on.

    Example:
        >>> fields = {"org": None, "location": " ", "timeout_seconds": None}
        >>> without_empty(fields, "org", "location")
        {'timeout_seconds': None}
    """
    if not isinstance(values, dict):
        return values
    return {
        name: value for name, value in values.items() if name not in names or not _is_empty(value)
    }


def _is_empty(value: object) -> bool:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return text is None or (isinstance(text, str) and not text.strip())
