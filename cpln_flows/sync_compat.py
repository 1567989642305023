"""Async code for every caller: awaited in async code, run to its end in sync code.

In sync code the work runs in another thread's event loop; whatever interrupts the caller cancels
the work and waits for its clean-up.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from anyio.from_thread import BlockingPortalProvider
from prefect import Flow, Task
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TaskRunContext, get_run_context
from prefect.exceptions import MissingContextError

from cpln_flows.errors import CplnError

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")
S_contra = TypeVar("S_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

CLEANUP_SECONDS = 20
"""How long interrupted work may take to clean up; Prefect kills a flow run after about 30 s."""

_LOOK_SECONDS = 0.5
_MARGIN_SECONDS = 5


class _Portals(BlockingPortalProvider):
    """A provider that stays behind when Prefect pickles a flow's module for another process."""

    def __reduce__(self) -> tuple[type[_Portals], tuple[()]]:
        return (_Portals, ())


# One event loop for all synchronous callers of the process, so that they share connections and
# polls. It runs while at least one of them needs it; the provider counts them.
_PORTALS = _Portals()


def in_async_context() -> bool:
    """Whether the caller expects an awaitable.

    Within a run, the flow or task decides; outside of a run, the event loop does. The loop alone is
    not enough: a sync task of an async flow runs beside a loop and still wants plain results.
    """
    try:
        context: Any = get_run_context()
    except MissingContextError:
        return asyncio._get_running_loop() is not None  # noqa: SLF001 - the public one raises
    runnable = getattr(context, "task", None) or getattr(context, "flow", None)
    return bool(getattr(runnable, "isasync", True))


def in_run() -> bool:
    """Whether a flow run or a task run is under way, whose log receives what we log."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def dispatch(function: Callable[[], Any]) -> Any:
    """Call asynchronous work for any caller: return an awaitable in async code, else the result.

    An error of ours leaves without the frames of this library and of what runs it, and as a summary
    where a log has the whole message: Prefect prints an error that leaves a flow four times.
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

    Whatever interrupts the caller (Ctrl-C, a termination signal, Prefect's cancellation) cancels
    the work and waits until its clean-up is over. Otherwise a job would keep running with nobody
    watching it.

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
            # A wait without a timeout would block exceptions that others raise in this thread.
            while not work.ended.wait(_LOOK_SECONDS):
                pass
        except BaseException:
            future.cancel()
            work.ended.wait(CLEANUP_SECONDS + _MARGIN_SECONDS)
            raise
    return work.result()


class _Work(Generic[T]):
    """A piece of work and its outcome.

    The portal's own future reports its cancellation before the clean-up is over. An exception such
    as Prefect's ``Abort``, which is not an ``Exception``, would end the portal for everybody. So
    the outcome is kept here.
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


class SyncCompatible(Protocol[S_contra, P, R_co]):
    """A method that is called plainly in sync code and awaited in async code."""

    @property
    def aio(self) -> Callable[Concatenate[S_contra, P], Coroutine[Any, Any, R_co]]:
        """The async method itself: ``await CplnJobRun.wait_for_completion.aio(run)``."""

    @overload
    def __get__(self, instance: None, owner: type[object]) -> SyncCompatible[S_contra, P, R_co]: ...
    @overload
    def __get__(
        self, instance: S_contra, owner: type[object] | None = None
    ) -> BoundSyncCompatible[S_contra, P, R_co]: ...


class BoundSyncCompatible(Protocol[S_contra, P, R_co]):
    """A sync-compatible method of one object."""

    @property
    def aio(self) -> Callable[Concatenate[S_contra, P], Coroutine[Any, Any, R_co]]:
        """The async method itself, unbound: ``await run.wait_for_completion.aio(run)``."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the method to its end in sync code; return an awaitable in async code."""


def sync_compatible(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> SyncCompatible[S, P, R]:
    """Let any caller use an async method: awaited in async code, run to its end in sync code.

    As with Prefect's decorator of this name, ``aio`` of the method is the async method itself.
    """

    @wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> Any:
        __tracebackhide__ = True
        return dispatch(partial(method, self, *args, **kwargs))

    made: Any = call
    made.aio = method
    typed: SyncCompatible[S, P, R] = made
    return typed


class SyncCompatibleFlow(Flow[P, Coroutine[Any, Any, R]], Generic[P, R]):
    """An async flow whose call adapts to its caller.

    In a sync flow, task or script the call runs to its end and returns the result; whatever
    interrupts the caller cancels the flow and waits for its clean-up. In async code the call
    returns an awaitable, which type checkers know as ``aio``. As the entrypoint of a deployment it
    is an ordinary async flow.
    """

    # The types are those of a sync caller; return_state stands where Prefect's own calls have it.
    @overload  # type: ignore[override]
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(  # type: ignore[valid-type]
        self,
        *args: P.args,
        return_state: Literal[True],
        **kwargs: P.kwargs,
    ) -> State[R]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow; the arguments are those of Prefect's own flows."""
        __tracebackhide__ = True
        call: Callable[..., Any] = super().__call__
        return dispatch(partial(call, *args, **kwargs))

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the flow from async code."""
        call: Callable[..., Any] = super().__call__
        result: R = await _awaited(call(*args, **kwargs))
        return result

    def with_options(self, **options: Any) -> SyncCompatibleFlow[P, R]:
        """Return a copy with other options, which are those of Prefect's own flows."""
        return _like(self, super().with_options(**options))


class SyncCompatibleTask(Task[P, Coroutine[Any, Any, R]], Generic[P, R]):
    """An async task whose call adapts to its caller.

    In a sync flow, task or script the call runs to its end and returns the result; whatever
    interrupts the caller cancels the task. In async code the call returns an awaitable, which type
    checkers know as ``aio``. Submitted or mapped, it is an ordinary async task.
    """

    # The types are those of a sync caller; return_state stands where Prefect's own calls have it.
    @overload  # type: ignore[override]
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(  # type: ignore[valid-type]
        self,
        *args: P.args,
        return_state: Literal[True],
        **kwargs: P.kwargs,
    ) -> State[R]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; the arguments are those of Prefect's own tasks."""
        __tracebackhide__ = True
        call: Callable[..., Any] = super().__call__
        if kwargs.get("return_state"):
            return dispatch(partial(call, *args, **kwargs))
        return dispatch(lambda: value_of(call(*args, **kwargs)))

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task from async code."""
        call: Callable[..., Any] = super().__call__
        result: R = await _awaited(value_of(call(*args, **kwargs)))
        return result

    def with_options(self, **options: Any) -> SyncCompatibleTask[P, R]:
        """Return a copy with other options, which are those of Prefect's own tasks."""
        return _like(self, super().with_options(**options))


def _like(original: T, changed: object) -> T:
    """Return an object of the original's class with everything that Prefect set on a changed one.

    Prefect makes the changed one a plain flow or task.
    """
    copy = type(original).__new__(type(original))
    copy.__dict__.update(changed.__dict__)
    return copy


def flow(
    function: Callable[P, Coroutine[Any, Any, R | State[Any]]], *, name: str
) -> SyncCompatibleFlow[P, R]:
    """Make a flow of an async function, which may return the state of its failure."""
    made: Any = SyncCompatibleFlow(cast("Any", function), name=name)
    typed: SyncCompatibleFlow[P, R] = made
    return typed


async def value_of(step: Awaitable[Any]) -> Any:
    """Return the result of a task; if it returned a failed state, raise the error of that."""
    value = await step
    return await value.aresult() if isinstance(value, State) else value
