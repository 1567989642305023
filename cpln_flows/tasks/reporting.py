"""Tasks that call the platform: sync or async, never cached, each failure logged in one line."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import get_run_logger
from prefect.client.schemas.objects import State

from cpln_flows import failure_states
from cpln_flows.errors import CplnError
from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area
from cpln_flows.sync_compat import SyncCompatibleTask, in_run

P = ParamSpec("P")
R = TypeVar("R")


def reporting(
    area: Area,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], SyncCompatibleTask[P, R]]:
    """Turn a function into a task.

    An error of this library is logged once, and becomes the state of the task run.

    Args:
        area: The area that its log lines name.
    """

    def decorate(function: Callable[P, Coroutine[Any, Any, R]]) -> SyncCompatibleTask[P, R]:
        @wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
            try:
                return await function(*args, **kwargs)
            except CplnError as error:
                if not in_run():
                    raise  # the function itself was called
                Journal(get_run_logger()).report(error, area)
                return failure_states.of_task(error)

        made: Any = SyncCompatibleTask(run, name=function.__name__, **failure_states.STEP)
        task: SyncCompatibleTask[P, R] = made
        return task

    return decorate
