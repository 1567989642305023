"""The state of a failed flow or task run of this library: one line, as its log has the message.

If the error were raised, each engine on its way would print it, every time with a traceback through
this library.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from prefect import get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Failed, exception_to_failed_state

from cpln_flows.errors import CplnError
from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area, LogContext

R = TypeVar("R")

_TIMED_OUT = "TimedOut"


def of_task(error: CplnError) -> State[Any]:
    """Return the state of a task run that ends with this error, to be returned by its function."""
    return _named(Failed(data=error, message=error.summary), error)


async def of_flow(error: CplnError) -> State[Any]:
    """Return the state of the current flow run, to be returned by its function.

    The error is stored in the same way as a raised one.
    """
    context = FlowRunContext.get()
    store = context.result_store if context is not None else None
    state = await exception_to_failed_state(error, result_store=store, write_result=True)
    state.message = error.summary
    return _named(state, error)


async def reported(work: Awaitable[R], area: Area) -> R | State[Any]:
    """Return what the work of a flow returns, or log its failure and return the state for it.

    Args:
        work: What the flow does.
        area: What the flow is about, for its log.
    """
    try:
        return await work
    except CplnError as error:
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise
        name = context.flow.name if context.flow is not None else None
        Journal(get_run_logger(), LogContext(name, context.flow_run.id)).report(error, area)
        return await of_flow(error)


def never_again(*_: object) -> bool:
    """Refuse a retry.

    Prefect's engine logs a failed task that has no retry left, with a traceback. A task that has
    one left, but refuses it, is logged only by this library.
    """
    return False


def _named(state: State[Any], error: CplnError) -> State[Any]:
    if isinstance(error, TimeoutError):
        state.name = _TIMED_OUT  # as Prefect calls it
    return state


# Never cached and never persisted: a step that acts must act each time, and its arguments may hold
# credentials.
STEP: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 1,
    "retry_condition_fn": never_again,
}
"""Options of a task that returns the state of its failure."""
