"""The task that reads the log of a job, of whomever's: while it runs, or long after."""

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
    """Show the log of one job, each line once, and return a receipt whose cursor is where the next reader goes on.

    The job may run, or have ended as long ago as the platform keeps logs. Called plainly in sync code, awaited in async code.

    Args:
        job: Infrastructure pid, id of a flow run that has or is a job, or id of a command.
        print_func: Gets every line, also after it raised an error, as ``"{timestamp} - {line}"``. Without, lines go into the
            run's own logs, as far as the budget for these allows; a run that is executed again goes on after the last line that
            is there.
        from_cursor: Go on where another reader has stopped: ``receipt.cursor``, or its text.
        since: Show no line that is older. Default: the job's start.
        until: Show lines before this time alone. Default: to the job's end.
        follow: Whether to wait for further lines while the job runs.
        containers: Show the lines of these containers. Default: the first one's, or all if the workload is gone.
        include: Show only lines in which this regular expression is found.
        exclude: Show only lines in which this regular expression is not found.
        limit: Show so many lines at most; the cursor is right behind the last one.
        credentials: Whose rights are used. Default: ``CPLN_TOKEN``.
        org: Organization, for the id of a command. Default: ``CPLN_ORG``.
        namespace: GVC, for the id of a command. Default: ``CPLN_GVC``.

    Returns:
        Lines, bytes and digest of each stream, known gaps, and the cursor.

    Raises:
        ConfigurationError: An argument is wrong, or the flow run has no job.
        LogStreamError: The log may not be read, could not be, or is that of a job that nobody knows.

    Example:
        Show the first line of a job, and then the rest:
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
        found = await target.locate(shared, wanted)  # whose answers tell the platform's time
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
    """The job that is meant: by its pid, or by its command's id in a GVC."""

    gvc: GvcRef
    command_id: str
    ref: CommandRef | None = None
    workload: WorkloadRef | None = None
    """Where the newest job is meant: a pid of prefect-cpln names no more."""

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
                f"job: {text!r} is neither a pid such as org:gvc:workload:command_id, nor the id of a flow run or command"
            )
        if not (settings.org and settings.gvc):
            raise ConfigurationError(
                "org and namespace are needed for the id of a command; give them, or CPLN_ORG and CPLN_GVC"
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
            f"job: the flow run {run_id} has no job on Control Plane (its infrastructure pid is {pid!r})"
        )
    return ref


async def _sink(
    print_func: PrintFunc | None, settings: CplnSettings, where: str, journal: Journal
) -> Printer | Forwarder:
    """Return what gets the lines."""
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
