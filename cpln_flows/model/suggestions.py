"""Guess which field an unknown one was meant to be, by similarity of their names. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

_CUTOFF = 0.75
_LONGEST = 100  # the time of a comparison grows with both lengths


def near(name: str, known: Collection[str], *, cutoff: float = _CUTOFF) -> str | None:
    """Return the known name that is closest to another name, if any is close at all.

    >>> near("api_version", ["apiVersion", "kind"]), near("imge", ["image"]), near("x", ["image"])
    ('apiVersion', 'image', None)
    """
    if len(name) > _LONGEST:
        return None
    plain = {_plain(candidate): candidate for candidate in sorted(known)}
    close = difflib.get_close_matches(_plain(name), list(plain), n=1, cutoff=cutoff)
    return plain[close[0]] if close else None


def same(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that equals this one except for case, dashes and underscores."""
    return next(
        (candidate for candidate in sorted(known) if _plain(candidate) == _plain(name)), None
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_]", "", name).lower()
