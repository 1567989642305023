"""How error messages show values. Pure."""

from __future__ import annotations

import re

_LENGTH = 60
_PLACEHOLDER = re.compile(
    r"\$\{|\$\(|\{\{|\{%|<%|\[\[|<[^<>]*>|%\(|@[A-Z_]+@|%[A-Z_]+%|__[A-Z][A-Z_]*__|\$[A-Z_]+"
)


def shown(value: object) -> str:
    """Return a value as an error message shows it, cut if it is long.

    >>> shown("main"), shown(3), len(shown("x" * 1000))
    ("'main'", '3', 63)
    """
    text = repr(value)
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}..."


def holds_placeholder(text: str) -> bool:
    """Whether a string looks like an unrendered template.

    Meant for fields in which such a string is never intended.

    >>> texts = ("gcr.io/$PROJECT/etl", "%IMAGE%", "__IMAGE__", "{{ image }}", "a__b:1")
    >>> [holds_placeholder(text) for text in texts]
    [True, True, True, True, False]
    """
    return _PLACEHOLDER.search(text) is not None
