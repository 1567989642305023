"""Which field was meant by one that nobody knows: another spelling of a field beside it, or one of another level. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

_CUTOFF = 0.75
_LONGEST = 100  # comparing takes time that grows with both lengths


def near(name: str, known: Collection[str], *, cutoff: float = _CUTOFF) -> str | None:
    """Return the known name that another one is closest to, if it is close at all.

    >>> near("api_version", ["apiVersion", "kind"]), near("imge", ["image"]), near("x", ["image"])
    ('apiVersion', 'image', None)
    """
    if len(name) > _LONGEST:
        return None
    plain = {_plain(candidate): candidate for candidate in sorted(known)}
    close = difflib.get_close_matches(_plain(name), list(plain), n=1, cutoff=cutoff)
    return plain[close[0]] if close else None


def same(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that this one is, but for capitals, dashes and underscores."""
    return next(
        (candidate for candidate in sorted(known) if _plain(candidate) == _plain(name)), None
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_]", "", name).lower()
