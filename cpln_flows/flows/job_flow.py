"""A flow that is called plainly in sync code and awaited in async code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from prefect import Flow

from cpln_flows import portal

P = ParamSpec("P")
R = TypeVar("R")


class JobFlow(Flow[P, R]):
    """An async flow whose call asks who is calling.

    In a sync flow, task or script the call runs to its end and returns the result; what interrupts the caller cancels the
    flow and waits for its clean-up. In async code the call returns an awaitable. As the entrypoint of a deployment it is the
    async flow that it is.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow; arguments are those of Prefect's own flows."""
        __tracebackhide__ = True
        call: Callable[..., Any] = super().__call__
        return portal.dispatch(partial(call, *args, **kwargs))

    def with_options(self, **options: Any) -> JobFlow[P, R]:
        """Return a copy with other options, which are those of Prefect's own flows."""
        changed = super().with_options(**options)
        # Prefect makes a plain flow here; everything it has set belongs to the copy.
        copy: JobFlow[P, R] = JobFlow.__new__(JobFlow)
        copy.__dict__.update(changed.__dict__)
        return copy
