"""Regular expressions in requests, with RE2 as in Loki.

The time of a match grows with the text only. Python's own engine could hang on some short
expressions, and the whole platform with it.
"""

from __future__ import annotations

import re2  # type: ignore[import-untyped]

# The memory limit of one compiled expression; a repetition that needs more is refused.
_MEMORY_BYTES = 1 << 20


class PatternError(ValueError):
    """The string is not a valid RE2 expression."""


class Pattern:
    """A compiled expression; a dot also matches a line break."""

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
        """Return whether the expression matches somewhere in a string."""
        return self._compiled.search(text.encode(errors="replace")) is not None

    def fits(self, text: str) -> bool:
        """Return whether the expression matches a whole string."""
        return self._compiled.fullmatch(text.encode(errors="replace")) is not None
