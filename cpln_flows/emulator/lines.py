"""Turn the bytes that a process writes into the lines that the logs service keeps.

Pure: no clock, no store.
"""

from __future__ import annotations

LINE_LIMIT = 16 * 1024
# No character takes more than four bytes.
_SURELY_SHORT = LINE_LIMIT // 4


def cut(raw: bytes, more: int = 0) -> str:
    """Decode a line, cut to what the service keeps.

    ``more`` is the number of its bytes that were already dropped.
    """
    surplus = len(raw) - LINE_LIMIT + more
    if surplus <= 0:
        return raw.decode("utf-8", errors="replace")
    kept = raw[:LINE_LIMIT].decode("utf-8", errors="ignore")
    return f"{kept}... [truncated {surplus} bytes]"


def cut_text(text: str) -> str:
    """Cut a line that is already decoded."""
    if len(text) <= _SURELY_SHORT:
        return text
    return cut(text.encode("utf-8", errors="replace"))


class LineSplitter:
    """Splits a stream of bytes into lines.

    Empty lines are dropped, and no line takes more memory than its kept part.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._surplus = 0

    def feed(self, data: bytes) -> list[str]:
        """Take the next bytes and return the lines that they complete."""
        if b"\n" not in data:
            self._keep(data)
            return []
        first, *others = data.split(b"\n")
        self._keep(first)
        lines = self.finish()
        self._keep(others.pop())
        lines += [cut(line) for line in others if line]
        return lines

    def finish(self) -> list[str]:
        """Return the last, unterminated line."""
        line, surplus = self._rest, self._surplus
        self._rest, self._surplus = b"", 0
        return [cut(line, surplus)] if line else []

    def _keep(self, data: bytes) -> None:
        room = LINE_LIMIT - len(self._rest)
        self._rest += data[:room]
        self._surplus += max(len(data) - room, 0)
