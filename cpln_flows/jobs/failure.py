"""The report of a job that did not complete: what is known, and where to find the rest. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from cpln_flows.errors import JobCancelledError, JobError, JobFailedError
from cpln_flows.jobs.submit import StartedJob
from cpln_flows.model import image_faults, log_lines
from cpln_flows.model.ending import Ending
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.time import from_ns
from cpln_flows.settings import console_url


@dataclass(frozen=True)
class Place:
    """Where a job ran, and where people find what is left of it.

    Args:
        job: The job.
        is_kept: Whether its workload still exists.
    """

    job: StartedJob
    is_kept: bool

    def __str__(self) -> str:
        kept = (
            ""
            if self.is_kept
            else " (deleted with the job; delete_after_completion=False keeps it)"
        )
        return (
            f"Workload{kept}:\n  {console_url(self.job.ref.workload_ref.path)}\n"
            f"Whole log:\n  {log_command(self.job)}"
        )


def log_command(job: StartedJob) -> str:
    """Return the vendor's command that shows the whole log of a job, quoted for a shell."""
    ref = job.ref
    since = from_ns(job.since_ns).strftime("%Y-%m-%dT%H:%M:%SZ")
    query = log_lines.selector(ref, job.location)
    return shlex.join(
        ["cpln", "logs", query, "--org", ref.org, "--from", since, "--limit", "0", "-o", "raw"]
    )


def image_advice(end: Ending, last_lines: Sequence[str]) -> str | None:
    """Return what is wrong with the image of a failed container, if anything shows it.

    Args:
        end: How it ended.
        last_lines: The last lines of its log.
    """
    return image_faults.advice([*end.messages, *last_lines])


def error_of(end: Ending, place: Place, last_lines: Sequence[str]) -> JobError:
    """Return the error for a job that did not complete.

    Args:
        end: How it ended.
        place: Where it ran.
        last_lines: The last lines of its log.
    """
    ref = place.job.ref
    is_cancelled = end.stage == Stage.CANCELLED
    text = [f"job {ref.pid} {'was stopped' if is_cancelled else 'failed'}: {end.cause}"]
    text += ["Last lines:", *(f"  {line}" for line in last_lines)] if last_lines else []
    if not is_cancelled and (advice := image_advice(end, last_lines)):
        text.append(advice)
    text.append(str(place))
    paragraph = "\n".join(text)
    if is_cancelled:
        return JobCancelledError(paragraph, infrastructure_pid=ref.pid)
    return JobFailedError(
        paragraph,
        infrastructure_pid=ref.pid,
        exit_code=end.exit_code,
        reason=end.reason,
        last_lines=last_lines,
    )
