"""A task that is called plainly in sync code and awaited in async code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from prefect import Task

from cpln_flows import failure_states, portal

P = ParamSpec("P")
R = TypeVar("R")


class DualTask(Task[P, R]):
    """An async task whose call asks who is calling.

    In a sync flow, task or script the call runs to its end and returns the result; what interrupts the caller cancels the
    task. In async code the call returns an awaitable. Submitted or mapped it is the async task that it is.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; arguments are those of Prefect's own tasks."""
        __tracebackhide__ = True
        call: Callable[..., Any] = super().__call__
        if kwargs.get("return_state"):
            return portal.dispatch(partial(call, *args, **kwargs))

        async def value() -> Any:
            return await failure_states.value_of(call(*args, **kwargs))

        return portal.dispatch(value)

    def with_options(self, **options: Any) -> DualTask[P, R]:
        """Return a copy with other options, which are those of Prefect's own tasks."""
        changed = super().with_options(**options)
        # Prefect makes a plain task here; everything it has set belongs to the copy.
        copy: DualTask[P, R] = DualTask.__new__(DualTask)
        copy.__dict__.update(changed.__dict__)
        return copy
