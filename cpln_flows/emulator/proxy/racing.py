"""Run coroutines together, and leave none of them running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

_Result = TypeVar("_Result")


async def race(*coroutines: Coroutine[None, None, _Result]) -> _Result:
    """Run coroutines until one returns or raises; cancel the others and do as it did.

    Of several that end at the same time, the one that is named first counts.
    """
    async with _running(*coroutines) as tasks:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()


async def join(*coroutines: Coroutine[None, None, None]) -> None:
    """Run coroutines until all have returned; if one raises, cancel the others and raise."""
    async with _running(*coroutines) as tasks:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()


@asynccontextmanager
async def _running(
    *coroutines: Coroutine[None, None, _Result],
) -> AsyncIterator[list[asyncio.Task[_Result]]]:
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
