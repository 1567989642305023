"""Copy the log of a flow run's job into the flow run's logs.

Each line appears once, even if another process followed the job before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID

from prefect.client.orchestration import PrefectClient

from cpln_flows import orchestration
from cpln_flows.api.logs import LogSource
from cpln_flows.jobs.run import JobRun
from cpln_flows.jobs.session import JobSession
from cpln_flows.logs.budget import Shown
from cpln_flows.logs.forwarder import Forwarder
from cpln_flows.logs.pace import Pace
from cpln_flows.logs.sink import Rendering
from cpln_flows.logs.stream import LogStream
from cpln_flows.model import log_lines
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Batch
from cpln_flows.worker import output
from cpln_flows.worker.output import Output

_KNOWN_LINES = 1000
_MOST_KNOWN_LINES = 16_000  # more lines than one job may have there


@dataclass
class JobLog:
    """Takes the lines of a flow run's job.

    Args:
        prefect: A client of Prefect's API.
        run_id: The flow run.
        run: Its job.
        is_streamed: Whether the lines go to the flow run's logs as they arrive.
    """

    prefect: PrefectClient
    run_id: UUID
    run: JobRun
    is_streamed: bool
    _output: Output = field(init=False)

    def __post_init__(self) -> None:
        self._output = self._output_after(None)

    def deliver(self, batch: Batch) -> None:
        """Take the next lines."""
        self._output.deliver(batch)

    @property
    def last_lines(self) -> list[str]:
        """The beginnings of the last lines."""
        return list(self._output.last)

    def finish(self) -> None:
        """End the log, once its last line has been delivered."""
        self._output.finish()

    async def resume(self) -> None:
        """Find which lines of an adopted job are logged already, so that none appears twice."""
        job = self.run.job
        if not job.adopted or not self.is_streamed:
            return
        try:
            shown, since_ns = await self._shown()
        except Exception as error:  # noqa: BLE001 - duplicate lines are better than none
            self.run.journal.debug(Area.LOGS, f"Cannot read the flow run's logs: {error!r}")
            return
        self._output = self._output_after(shown)
        self.run.take(replace(job, since_ns=max(job.since_ns, since_ns)))

    async def show_last_lines(self, session: JobSession, ended: float) -> None:
        """Forward the end of the log of every container.

        The flow could not report, so nothing else shows why it ended.

        Args:
            session: The session to read them with.
            ended: When the end of the job was seen, in seconds of the monotonic clock.
        """
        if not self.is_streamed:
            job, client = self.run.job, session.client
            stream = LogStream(
                source=LogSource(client, job.ref.org, log_lines.selector(job.ref, job.location)),
                deliver=self.deliver,
                journal=self.run.journal,
                since_ns=job.since_ns,
                pace=Pace.of(self.run.settings),
                now_ns=client.now_ns,
            )
            await stream.settle(ended)  # the last lines show why it died, and they arrive late
            await stream.drain()
        self._output.flush()

    def _output_after(self, shown: Shown | None) -> Output:
        journal = self.run.journal
        budget = replace(
            orchestration.log_budget(self.run.settings), where=f"stream_logs({str(self.run_id)!r})"
        )
        rendering = Rendering(has_labels=len(self.run.plan.manifest.containers) > 1)
        forwarder = Forwarder(journal.logger, budget, shown)
        return Output(forwarder, forwards=self.is_streamed, rendering=rendering)

    async def _shown(self) -> tuple[Shown, int]:
        """Return the newest lines in the flow run's logs, and since when these are complete.

        It reads no more of them than needed.
        """
        most = _KNOWN_LINES
        while True:
            messages = await orchestration.newest_messages(self.prefect, self.run_id, most)
            shown = Shown(messages)
            if len(messages) < most:
                return shown, 0
            since_ns = output.read_from_ns(shown)
            if since_ns is not None or most >= _MOST_KNOWN_LINES:
                return shown, since_ns or 0
            most *= 4
