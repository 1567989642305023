"""Names of container images, as far as they reveal a mistake. Pure."""

from __future__ import annotations

import re

_PREFECT = frozenset({"prefecthq/prefect", "prefecthq/prefect-dev"})
_VERSION = re.compile(r"(\d{1,3})(?:[.-]|\Z)")


def prefect_major(image: str) -> int | None:
    """Return Prefect's major version from the name of an image, if it is one of Prefect's own.

    Args:
        image: Name of an image, with or without a registry, a tag and a digest.

    Example:
        >>> prefect_major("prefecthq/prefect:2.20.25-python3.11"), prefect_major("acme/prefect:2")
        (2, None)
    """
    repository, _, tag = image.strip().partition("@")[0].rpartition(":")
    if not repository or "/" in tag:  # no tag: a port and a path follow the colon
        return None
    parts = repository.lower().removeprefix("//").split("/")
    if "/".join(parts[-2:]) not in _PREFECT:
        return None
    found = _VERSION.match(tag)
    return int(found[1]) if found else None
