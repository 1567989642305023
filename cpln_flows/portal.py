"""The edge where synchronous callers meet asynchronous code: run it in another thread, cancel it with the caller, wait for it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from anyio.from_thread import BlockingPortalProvider
from prefect.context import FlowRunContext, TaskRunContext, get_run_context
from prefect.exceptions import MissingContextError

from cpln_flows.errors import CplnError

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")

CLEANUP_SECONDS = 20
"""How long an interrupted piece of work may take to put things in order; Prefect kills a flow run after about 30."""

_LOOK_SECONDS = 0.5
_MARGIN_SECONDS = 5


class _Portals(BlockingPortalProvider):
    """A provider that stays behind when Prefect packs a flow with its module for another process."""

    def __reduce__(self) -> tuple[type[_Portals], tuple[()]]:
        return (_Portals, ())


# One event loop for all synchronous callers of the process, so that they share connections and polls. It runs while at least
# one of them needs it; the provider counts them.
_PORTALS = _Portals()


def in_async_context() -> bool:
    """Whether the caller expects an awaitable: the running flow or task decides, outside of a run the event loop does.

    A sync task of an async flow runs beside a loop and still wants plain results, which is why the loop alone cannot tell.
    """
    try:
        context: Any = get_run_context()
    except MissingContextError:
        return asyncio._get_running_loop() is not None  # noqa: SLF001 - the public function raises instead of telling
    runnable = getattr(context, "task", None) or getattr(context, "flow", None)
    return bool(getattr(runnable, "isasync", True))


def in_run() -> bool:
    """Whether a flow run or a task run is under way, whose log takes what we log."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def dispatch(function: Callable[[], Any]) -> Any:
    """Call asynchronous work for whoever asks: an awaitable in async code, the result in sync code.

    An error of ours leaves without the frames of this library and of what runs it, and briefly where a log has the whole of it:
    Prefect prints an error that leaves a flow four times.
    """
    __tracebackhide__ = True
    if in_async_context():
        work = function()
        return _awaited(work) if inspect.isawaitable(work) else work
    try:
        return run(function)
    except CplnError as error:
        caught = error
    raise _leaving(caught)


async def _awaited(work: Awaitable[T]) -> T:
    __tracebackhide__ = True
    try:
        return await work
    except CplnError as error:
        caught = error
    raise _leaving(caught)


def _leaving(error: CplnError) -> CplnError:
    if error.reported and in_run():
        return error.brief()
    for cause in (error, error.__cause__):
        if cause is not None:
            cause.__traceback__ = None
    return error


def run(function: Callable[[], Awaitable[T]]) -> T:
    """Run asynchronous work for a synchronous caller and return its result.

    Whatever interrupts the caller (Ctrl-C, a termination signal, Prefect's cancellation) cancels the work and waits until its
    clean-up is over, because a job would otherwise run on without anybody watching it.

    >>> import anyio
    >>> async def answer():
    ...     await anyio.sleep(0)
    ...     return 42
    >>> run(answer)
    42
    """
    work = _Work(function)
    with _PORTALS as portal:
        future = portal.start_task_soon(work)
        try:
            # A lock held for ever would keep exceptions out that are raised in this thread from elsewhere.
            while not work.ended.wait(_LOOK_SECONDS):
                pass
        except BaseException:
            future.cancel()
            work.ended.wait(CLEANUP_SECONDS + _MARGIN_SECONDS)
            raise
    return work.result()


class _Work(Generic[T]):
    """A piece of work and what became of it.

    The portal's own future reports its cancellation before the clean-up is over, and an exception such as Prefect's ``Abort``,
    which is not an ``Exception``, would end the portal for everybody; so the outcome is kept here.
    """

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._value: T | None = None
        self._error: BaseException | None = None
        self.ended = threading.Event()

    async def __call__(self) -> None:
        try:
            self._value = await self._function()
        except BaseException as error:  # noqa: BLE001 - handed to the caller, in result()
            self._error = error
        finally:
            self.ended.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


def either(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[..., Any]:
    """Let an async method be called plainly too: awaited in async code, run to its end in sync code."""

    @wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> Any:
        __tracebackhide__ = True
        return dispatch(partial(method, self, *args, **kwargs))

    return call
