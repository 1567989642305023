"""Pass lines of a job to a function of the user, which can neither stop the job nor lose a line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from cpln_flows.errors import ConfigurationError
from cpln_flows.logger import Journal
from cpln_flows.logs.budget import Shown
from cpln_flows.model.identifiers import Area


def check(print_func: object) -> None:
    """Refuse a print function whose lines would get lost.

    Raises:
        ConfigurationError: It is asynchronous; nobody would await it.
    """
    called = getattr(print_func, "__call__", None)  # noqa: B004 - its function, not whether it has one
    if inspect.iscoroutinefunction(print_func) or inspect.iscoroutinefunction(called):
        raise ConfigurationError(
            f"print_func: expected a plain function, found the asynchronous {print_func!r}; give"
            " one that only takes the line, such as put_nowait of a queue"
        )


class Printer:
    """Call a function with each line.

    Args:
        print_func: The function; its first error is reported, and it still gets the next lines.
        journal: Where to log for the user.
        shown: What an earlier process has shown already.
    """

    def __init__(
        self, print_func: Callable[[str], Any], journal: Journal, shown: Shown | None = None
    ) -> None:
        self._print_func = print_func
        self._journal = journal
        self._shown = shown
        self._failed = False

    def send(self, lines: Sequence[str]) -> None:
        """Print lines."""
        for line in lines:
            if self._shown is not None and self._shown.take(line):
                continue
            try:
                self._print_func(line)
            except Exception as error:  # noqa: BLE001 - the user's function must not stop the job
                self._say(error)

    def finish(self) -> None:
        """Do nothing: nothing remains to be sent when the log has ended."""

    def _say(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            self._journal.warning(
                Area.LOGS,
                f"print_func raised {error!r} (reported once); later lines are still passed to it",
            )
