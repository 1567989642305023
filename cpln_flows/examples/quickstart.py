"""The program behind `cpln-flows quickstart`. Run it with the platform's environment set."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cpln_flows.errors import CplnError, JobFailedError

EXAMPLE = Path(__file__).with_name("hello-job.yaml")


def main(manifest: Path) -> int:
    """Run the manifest as a job and report how it ended.

    Args:
        manifest: Manifest of a Kubernetes Job.
    """
    console, errors = Console(), Console(stderr=True)
    try:
        with _step(errors, "Loading Prefect"):
            # This takes seconds, during which a person should already see something.
            steps = importlib.import_module("cpln_flows.examples.quickstart_flow")
        job = steps.read(manifest)
        with _step(errors, "Starting a private Prefect server, which can take a minute"):
            steps.save(job)
        console.print(
            f"Running {manifest.name} on the local Control Plane", highlight=False, soft_wrap=True
        )
        result = steps.quickstart()
    except JobFailedError as error:
        errors.print(
            f"\nThe job ran and failed, so this command fails too: {error}",
            markup=False,
            soft_wrap=True,
        )
        return 1
    except (CplnError, OSError) as error:
        errors.print(f"\nThe job could not be run: {error}", markup=False, soft_wrap=True)
        return 1
    lines = result.count("\n") + 1 if result else 0
    console.print(
        f"\nThe job has completed. Its log, which the flow returned: {lines}"
        f" {'line' if lines == 1 else 'lines'}.\n"
        f"infrastructure pid: {steps.infrastructure_pid()}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


@contextmanager
def _step(console: Console, text: str) -> Iterator[None]:
    """Show what takes time: with a spinner on a terminal, as a plain line elsewhere."""
    if not console.is_terminal:
        console.print(f"{text} ...", highlight=False, soft_wrap=True)
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True, refresh_per_second=5) as progress,
        _quiet("prefect"),
    ):
        progress.add_task(text)
        yield


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger from writing into the spinner's line."""
    logger = logging.getLogger(name)

    def is_wrong(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    logger.addFilter(is_wrong)
    try:
        yield
    finally:
        logger.removeFilter(is_wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLE))
