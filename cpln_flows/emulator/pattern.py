"""Regular expressions that come with requests, as Loki has them: RE2's syntax, and its time, which grows with the text only.

Python's own engine would stand still for ages on some that are short, and the whole platform with it.
"""

from __future__ import annotations

import re2  # type: ignore[import-untyped]

# What one compiled expression may take; a repetition that needs more is refused.
_MEMORY_BYTES = 1 << 20


class PatternError(ValueError):
    """The text is no regular expression of RE2's."""


class Pattern:
    """A compiled expression; a dot fits a line break too."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        options = re2.Options()
        options.dot_nl, options.never_capture = True, True
        options.log_errors = False
        options.max_mem = _MEMORY_BYTES
        self.text: str = text
        try:
            self._compiled = re2.compile(text.encode(), options)
        except re2.error as error:
            reason = error.args[0]
            raise PatternError(
                reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            ) from None
        except UnicodeEncodeError:
            raise PatternError("invalid UTF-8") from None

    def found_in(self, text: str) -> bool:
        """Whether the expression fits somewhere in a text."""
        return self._compiled.search(text.encode(errors="replace")) is not None

    def fits(self, text: str) -> bool:
        """Whether the expression fits a whole text."""
        return self._compiled.fullmatch(text.encode(errors="replace")) is not None
