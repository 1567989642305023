"""The log of an agent that runs on the platform.

Its process prints, the logs service keeps what it prints, and the test reads it as a user does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from cpln_flows.local import LocalPlatform

WORKLOAD = "prefect-worker"


class _Printed(logging.Handler):
    """Keeps what Prefect prints on the console, line by line, as a container's output is kept."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.entries: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entries += [(time.time_ns(), line) for line in self.format(record).splitlines()]


def console_formatter() -> logging.Formatter:
    """How Prefect prints on the console."""
    from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH, load_logging_config
    from prefect.logging.formatters import PrefectFormatter

    standard = load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)["formatters"]["standard"]
    return PrefectFormatter(**{name: value for name, value in standard.items() if name != "()"})


@contextmanager
def kept(local: LocalPlatform) -> Iterator[None]:
    """Send what this process logs at its default level to the platform, as the log of a worker."""
    logger, printed = logging.getLogger("prefect"), _Printed(console_formatter())
    logger.addHandler(printed)
    try:
        yield
    finally:
        logger.removeHandler(printed)
        labels = {"org": "local", "gvc": "quickstart", "location": "local-1", "workload": WORKLOAD}
        local.platform.append_lines(
            {**labels, "container": "prefect", "replica": f"{WORKLOAD}-0"}, printed.entries
        )


@dataclass(frozen=True)
class Reader:
    """Asks the logs service of a platform, as the vendor's command line does."""

    url: str
    token: str

    def find(self, *filters: str) -> list[str]:
        """The lines of the agent's log in which every text is found, oldest first."""
        hour = 3_600_000_000_000
        span = {
            "start": str(time.time_ns() - hour),
            "end": str(time.time_ns() + hour),
            "direction": "forward",
            "limit": "5000",
        }
        answer = httpx.get(
            f"{self.url}/logs/org/local/loki/api/v1/query_range",
            params={"query": query(filters), **span},
            headers={"authorization": f"Bearer {self.token}"},
            timeout=30,
        )
        answer.raise_for_status()
        values = [value for stream in answer.json()["data"]["result"] for value in stream["values"]]
        return [line for _, line in sorted(values, key=lambda value: int(value[0]))]


def query(filters: Sequence[str]) -> str:
    """Return the seed's LogQL, with its filters inside of what the shell takes as one argument."""
    return f'{{gvc="quickstart", workload="{WORKLOAD}"}}' + "".join(
        f' |= "{text}"' for text in filters
    )
