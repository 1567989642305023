"""The same question about many things: asked with bounded concurrency, answered in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 40


async def each(function: Callable[[T], Awaitable[R]], items: Iterable[T], *, at_once: int = AT_ONCE) -> list[R]:
    """Call an async function for each item and return the results in the order of the items.

    A fixed number of workers takes the items one after the other, so thousands of items are not thousands of tasks.

    >>> async def double(n):
    ...     return 2 * n
    >>> anyio.run(each, double, [1, 2, 3])
    [2, 4, 6]
    """
    waiting = list(enumerate(items))
    results: dict[int, R] = {}
    waiting.reverse()

    async def work() -> None:
        while waiting:
            number, item = waiting.pop()
            results[number] = await function(item)

    async with anyio.create_task_group() as tasks:
        for _ in range(min(at_once, len(waiting))):
            tasks.start_soon(work)
    return [results[number] for number in sorted(results)]
