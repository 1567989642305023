"""An event loop whose clock jumps to what is due next.

Hours pass in no time, and always in the same way.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import anyio


class _Jump(selectors.SelectSelector):
    """Waits for nothing: what is due next is due now."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        self.now += max(0.0, timeout)
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run(main: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run to the end, on a clock that begins at 0."""
    return anyio.run(main, *args, backend_options={"loop_factory": _Loop})
