"""The task that reads the log of any job, whoever started it, while it runs or long after."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID

from prefect import get_run_logger

from cpln_flows import orchestration
from cpln_flows.api import commands
from cpln_flows.blocks.credentials import CplnCredentials
from cpln_flows.blocks.job_run import PrintFunc
from cpln_flows.errors import ConfigurationError
from cpln_flows.jobs import session
from cpln_flows.jobs.session import JobSession
from cpln_flows.logger import Journal
from cpln_flows.logs import lookup, printer, reader
from cpln_flows.logs.cursor import Cursor
from cpln_flows.logs.forwarder import Forwarder
from cpln_flows.logs.lookup import Located
from cpln_flows.logs.pace import Pace
from cpln_flows.logs.printer import Printer
from cpln_flows.logs.reader import LogReading, Wanted
from cpln_flows.logs.receipt import LogReceipt
from cpln_flows.model import links
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import CommandRef, GvcRef, WorkloadRef
from cpln_flows.settings import CplnSettings
from cpln_flows.tasks.reporting import reporting


@reporting(Area.LOGS)
async def stream_logs(
    job: str | UUID,
    print_func: PrintFunc | None = None,
    *,
    from_cursor: Cursor | str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    follow: bool = True,
    containers: Sequence[str] | None = None,
    include: str | None = None,
    exclude: str | None = None,
    limit: int | None = None,
    credentials: CplnCredentials | None = None,
    org: str | None = None,
    namespace: str | None = None,
) -> LogReceipt:
    """Show the log of one job, each line once.

    The job may be running, or may have ended as long ago as the platform keeps logs. The receipt
    that is returned has a cursor at which the next reader can resume. Called plainly in sync code,
    awaited in async code.

    Args:
        job: Infrastructure pid, id of a flow run that has or is a job, or id of a command.
        print_func: Receives every line as ``"{timestamp} - {line}"``, even after it has raised an
            error. Without it, lines go into the logs of the run itself, as far as their budget
            allows. If the run is executed again, it resumes after the last line that it logged.
        from_cursor: Resume where another reader stopped: ``receipt.cursor``, or that as a string.
        since: Show no older lines. Default: the job's start.
        until: Show only lines before this time. Default: up to the job's end.
        follow: Whether to wait for further lines while the job runs.
        containers: Show the lines of these containers. Default: the first one, or all of them if
            the workload no longer exists.
        include: Show only lines that match this regular expression somewhere.
        exclude: Hide lines that match this regular expression somewhere.
        limit: Show at most this many lines; the cursor is right after the last one.
        credentials: The credentials to authenticate with. Default: ``CPLN_TOKEN``.
        org: Organization, for the id of a command. Default: ``CPLN_ORG``.
        namespace: GVC, for the id of a command. Default: ``CPLN_GVC``.

    Returns:
        The lines, bytes and digest of each stream, the known gaps, and the cursor.

    Raises:
        ConfigurationError: An argument is invalid, or the flow run has no job.
        LogStreamError: The token may not read the log, the log could not be read, or no such job is
            known.

    Example:
        Show the first line of a job, then the rest:
        ```python
        from cpln_flows import CplnJob, stream_logs

        run = CplnJob.from_yaml_file("job.yaml").trigger()
        receipt = stream_logs(run.infrastructure_pid, print, limit=1)
        stream_logs(run.infrastructure_pid, print, from_cursor=receipt.cursor)
        run.wait_for_completion()
        ```
    """
    printer.check(print_func)
    if limit is not None and limit < 0:
        raise ConfigurationError(f"limit: expected 0 or more, found {limit}")
    wanted = Wanted(
        cursor=Cursor.parse(from_cursor) if isinstance(from_cursor, str) else from_cursor,
        since=since,
        until=until,
        follow=follow,
        containers=containers,
        include=_pattern("include", include),
        exclude=_pattern("exclude", exclude),
        limit=limit,
    )
    settings = CplnSettings.load(org=org, gvc=namespace)
    credentials = credentials or CplnCredentials()
    async with session.shared(
        credentials.api_settings(settings), credentials.present_token
    ) as shared:
        target = await _Target.of(job, settings)
        found = await target.locate(shared, wanted)  # its answers carry the platform's time
        journal = Journal(
            get_run_logger(), LogContext(gvc=target.gvc.gvc, command_id=target.command_id)
        )
        sink = await _sink(print_func, settings, f"stream_logs({str(job)!r}, print)", journal)
        look_again = partial(target.locate, shared, wanted)
        pace, now_ns = Pace.of(settings), shared.client.now_ns
        log = LogReading(
            shared.client,
            target.gvc.org,
            found,
            wanted,
            sink.send,
            journal,
            pace,
            look_again,
            now_ns=now_ns,
        )
        try:
            return await log.read()
        finally:
            sink.finish()


@dataclass(frozen=True)
class _Target:
    """The job that is meant, known by its pid or by the id of its command in a GVC."""

    gvc: GvcRef
    command_id: str
    ref: CommandRef | None = None
    workload: WorkloadRef | None = None
    """The workload whose newest job is meant, because a pid of prefect-cpln names only that."""

    @classmethod
    async def of(cls, job: str | UUID, settings: CplnSettings) -> _Target:
        text = str(job).strip()
        ref = _of_pid(text)
        if ref is None and (run_id := _uuid(text)) is not None:
            ref = await _job_of(run_id)
        if isinstance(ref, CommandRef):
            return cls(GvcRef(ref.org, ref.gvc), ref.command_id, ref)
        if ref is not None:
            return cls(GvcRef(ref.org, ref.gvc), "", workload=ref)
        if not links.is_name(text):
            raise ConfigurationError(
                f"job: {text!r} is neither a pid such as org:gvc:workload:command_id, nor the id of"
                " a flow run or command"
            )
        if not (settings.org and settings.gvc):
            raise ConfigurationError(
                "org and namespace are needed for the id of a command; give them, or CPLN_ORG and"
                " CPLN_GVC"
            )
        return cls(GvcRef(settings.org, settings.gvc), text)

    async def locate(self, shared: JobSession, wanted: Wanted) -> Located:
        if self.ref is not None:
            return await lookup.locate(shared.client, self.ref)
        if self.workload is not None:
            newest = await commands.newest(shared.client, self.workload)
            if newest is None:
                raise ConfigurationError(f"job: no job is known on workload {self.workload.path}")
            return await lookup.locate(shared.client, self.workload.command(newest.id))
        since_ns, until_ns = reader.span_of(wanted, shared.client.now_ns())
        return await lookup.locate_by_id(
            shared.client, self.gvc, self.command_id, since_ns=since_ns, until_ns=until_ns
        )


def _of_pid(pid: str) -> CommandRef | WorkloadRef | None:
    return CommandRef.find(pid) or WorkloadRef.of_pid(pid)


async def _job_of(run_id: UUID) -> CommandRef | WorkloadRef | None:
    known, pid = await orchestration.pid_of(run_id)
    if not known:
        return None
    if pid is None or (ref := _of_pid(pid)) is None:
        raise ConfigurationError(
            f"job: the flow run {run_id} has no job on Control Plane (its infrastructure pid is"
            f" {pid!r})"
        )
    return ref


async def _sink(
    print_func: PrintFunc | None, settings: CplnSettings, where: str, journal: Journal
) -> Printer | Forwarder:
    """Return the sink that receives the lines."""
    if print_func is not None:
        return Printer(print_func, journal)
    budget = replace(orchestration.log_budget(settings), where=where)
    return Forwarder(get_run_logger(), budget, await orchestration.shown_by_this_run())


def _pattern(name: str, text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise ConfigurationError(f"{name}: {text!r} is not a regular expression: {error}") from None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
