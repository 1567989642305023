"""Prefect's console log while pytest has put something else in place of ``sys.stderr``.

Prefect keeps the stream that it finds when it is imported. Within a test run that is pytest's,
which is closed at the end, before Prefect logs its last line: that it stops its temporary server.
Python then prints a whole "Logging error".
"""

from __future__ import annotations

import io
import logging
import sys
from typing import IO, cast

from rich.console import Console


def outlive_capture() -> None:
    """Have Prefect's console handlers write to whatever ``sys.stderr`` is at the time.

    A second call is harmless.
    """
    loggers = [
        logging.getLogger(),
        *(
            each
            for each in logging.Logger.manager.loggerDict.values()
            if isinstance(each, logging.Logger)
        ),
    ]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if type(handler).__module__ != "prefect.logging.handlers" or not isinstance(
            handler, logging.StreamHandler
        ):
            continue
        if isinstance(handler.stream, _CurrentStderr):
            continue
        current = _CurrentStderr()
        handler.setStream(current)
        console = getattr(handler, "console", None)
        if isinstance(console, Console):
            console.file = cast("IO[str]", current)


class _CurrentStderr(io.TextIOBase):
    """The current ``sys.stderr``, which this class never closes."""

    def write(self, text: str) -> int:
        """Write."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush."""
        sys.stderr.flush()

    def isatty(self) -> bool:
        """Whether this is a terminal now."""
        return sys.stderr.isatty()
