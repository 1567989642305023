"""The text of a log: all of it or, past a cap, its head and its tail."""

from __future__ import annotations

from collections import deque
from itertools import accumulate


class Transcript:
    """Keep lines; past the cap, drop those in the middle and leave a notice in the text.

    Args:
        most_characters: Approximate maximum length of the text; ``None`` keeps everything.

    >>> transcript = Transcript(8)
    >>> transcript.add(["aaa", "bbb", "ccc", "ddd"])
    >>> transcript.lines[0], transcript.lines[-1], transcript.left_out
    ('aaa', 'ddd', 2)
    """

    def __init__(self, most_characters: int | None = None) -> None:
        self._half = None if most_characters is None else most_characters // 2
        self._most = most_characters
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = 0
        self._head_is_full = False
        self.left_out: int = 0
        self._left_out_size = 0

    def add(self, lines: list[str]) -> None:
        """Add lines."""
        if self._half is None:
            self._head += lines
            return
        if not self._head_is_full:
            lines = self._fill_head(lines, self._half)
        if lines:
            self._fill_tail(lines, self._half)

    @property
    def lines(self) -> list[str]:
        """The lines, with a notice in place of those that were left out."""
        notice = [self._notice()] if self.left_out else []
        return [*self._head, *notice, *self._tail]

    @property
    def text(self) -> str:
        """The lines, joined."""
        return "\n".join(self.lines)

    def last(self, count: int) -> list[str]:
        """Return the last lines."""
        tail = list(self._tail)[-count:]
        return (
            tail
            if len(tail) == count or self.left_out
            else [*self._head[-(count - len(tail)) :], *tail]
        )

    def __len__(self) -> int:
        return len(self._head) + len(self._tail) + self.left_out

    def _fill_head(self, lines: list[str], half: int) -> list[str]:
        """Add the lines that fit; return the rest."""
        size = self._head_size + sum(map(len, lines)) + len(lines)
        if size <= half:
            self._head_size = size
            self._head += lines
            return []
        sizes = accumulate((len(line) + 1 for line in lines), initial=self._head_size)
        next(sizes)
        fits = 0
        for size in sizes:
            if size > half:
                self._head_is_full = True
                break
            self._head_size, fits = size, fits + 1
        self._head += lines[:fits]
        return lines[fits:]

    def _fill_tail(self, lines: list[str], half: int) -> None:
        self._tail.extend(lines)
        self._tail_size += sum(map(len, lines)) + len(lines)
        while self._tail_size > half and len(self._tail) > 1:
            size = len(self._tail.popleft()) + 1
            self._tail_size -= size
            self._left_out_size += size
            self.left_out += 1

    def _notice(self) -> str:
        return (
            f"[... {self.left_out:,} lines, {self._left_out_size:,} characters, are left out here:"
            f" the result is capped at {self._most:,} characters (max_log_characters,"
            " CPLN_MAX_LOG_CHARACTERS); the log on the platform has them ...]"
        )
