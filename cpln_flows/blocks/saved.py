"""What the documents of saved blocks hold where nothing was given."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr


def without_empty(values: Any, *names: str) -> Any:
    """Return the fields of a block without those that are null or empty, so that their defaults fill them in.

    prefect-cpln saved null, and Prefect's pages save an empty string, for what was to come from the environment of the job.

    Args:
        values: The fields, as pydantic gets them; anything else is returned as it is.
        names: The fields that have a default to fall back on.

    Example:
        >>> without_empty({"org": None, "location": " ", "timeout_seconds": None}, "org", "location")
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
