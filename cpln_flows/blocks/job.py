"""The job block and its runs: what users configure and what they get back. How a job is run stands in ``jobs``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import anyio
from prefect.blocks.abstract import JobBlock, JobRun
from prefect.utilities.dockerutils import get_prefect_image_name
from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from cpln_flows import orchestration, sync_compat
from cpln_flows.api import workloads
from cpln_flows.blocks.credentials import DOCUMENTATION_URL, LOGO_URL, CplnCredentials
from cpln_flows.blocks.saved import without_empty
from cpln_flows.errors import (
    ConfigurationError,
    CplnError,
    Fault,
    JobAccessLostError,
    JobCancelledError,
    JobError,
    JobLostError,
    ManifestError,
    NotFoundError,
    SubmissionUnknownError,
)
from cpln_flows.jobs import access, failure, grants, printing, session, stop
from cpln_flows.jobs.forward import Forwarder
from cpln_flows.jobs.journal import Journal
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.jobs.printing import Printer
from cpln_flows.jobs.session import JobSession
from cpln_flows.jobs.stream import LogStream
from cpln_flows.jobs.submit import StartedJob, Submitter
from cpln_flows.jobs.watch import Follower
from cpln_flows.manifest import conversion, yaml_text
from cpln_flows.manifest.manifest import JobManifest
from cpln_flows.model import addresses, links, log_lines
from cpln_flows.model.ending import Ending
from cpln_flows.model.field_errors import ClearErrors
from cpln_flows.model.forwarding import Shown
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import GvcRef, WorkloadRef
from cpln_flows.model.log_lines import Batch
from cpln_flows.model.receipt import LogReceipt
from cpln_flows.model.transcript import Transcript
from cpln_flows.orchestration import JobIdentity
from cpln_flows.reconcile import masking
from cpln_flows.settings import CplnSettings, console_url
from cpln_flows.sync_compat import sync_compatible

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

PrintFunc = Callable[[str], Any]

PREFECT_API_URL = "PREFECT_API_URL"
_LAST_LINES = 10
_OUT_OF_SIGHT = (JobLostError, JobAccessLostError)
"""The job may run on although nobody can see it: a stop or a deletion might kill what is well."""
_CLEANUP_RESERVE_SECONDS = 5.0


def _org() -> str:
    return _from_environment("org", "CPLN_ORG")


def _gvc() -> str:
    return _from_environment("gvc", "CPLN_GVC")


def _from_environment(name: str, variable: str) -> str:
    found = getattr(CplnSettings.load(), name)
    if not found:
        field = "namespace" if name == "gvc" else name
        raise ConfigurationError(f"CplnJob: {field} is not given, and {variable} is not set: give {field}=... or set {variable}")
    return str(found)


class CplnJob(JobBlock[str], metaclass=ClearErrors):
    """A job on Control Plane: what to run, where, and for how long.

    Attributes:
        credentials: Whose rights are used.
        org: Organization, as a name or a link. Default: ``CPLN_ORG``, which the platform sets inside its workloads.
        namespace: Global virtual cloud (GVC), as a name or a link. Default: ``CPLN_GVC``.
        location: Where to run, as a name or a link. Default: ``CPLN_LOCATION``, else the first location of the GVC.
        v1_job: Manifest of a Kubernetes Job or of a native cron workload.
        delete_after_completion: Run on a workload of its own and delete that when the job has ended, however it ended. Without,
            jobs of the same specification share a workload.
        interval_seconds: Longest time between two looks at the job's state, in seconds; short jobs are looked at more often.
        timeout_seconds: How long the job may take from its start, in seconds; it is stopped then. Default: for ever.
        log_containers: Containers whose lines are shown and returned, each with its container's name if there are several.
            Default: the first container alone; the receipt counts the lines of all.
        strict: Refuse a manifest in which something has no effect here, or that something is filled in of; without, that is noted
            in the log, in ``preview()`` and in the plan.
        max_log_characters: About how long the returned log may be; past that, its head and its tail are kept and the text says
            what was left out. 0 is no cap. Default: ``CPLN_MAX_LOG_CHARACTERS``, which is 64 million.

    Example:
        Run a job and print its log:
        ```python
        from cpln_flows import CplnJob, run_namespaced_job

        job = CplnJob.from_yaml_file("job.yaml", timeout_seconds=600)
        run_namespaced_job(job, print_func=print)
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "Control Plane Job"
    _block_type_slug = "cpln-job"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    credentials: CplnCredentials = Field(
        default_factory=CplnCredentials, description="The credentials to configure a Control Plane API client from."
    )
    org: str = Field(
        default_factory=_org, validate_default=True, description="The organization. Default: the environment variable CPLN_ORG."
    )
    namespace: str = Field(
        default_factory=_gvc, validate_default=True, description="The GVC. Default: the environment variable CPLN_GVC."
    )
    location: str | None = Field(
        default_factory=lambda: CplnSettings.load().location,
        description="The location. Default: the environment variable CPLN_LOCATION, else the GVC's first location.",
    )
    v1_job: dict[str, Any] = Field(
        default=...,
        title="Job Manifest",
        description="Manifest of a Kubernetes Job or of a native cron workload.",
    )
    delete_after_completion: bool = Field(
        default=True, description="Whether to delete the job's workload after the job has ended."
    )
    interval_seconds: float = Field(default=5, gt=0, description="Longest time between two looks at the job's state.")
    timeout_seconds: float | None = Field(
        default=None, gt=0, description="How long the job may take before it is stopped. Default: for ever."
    )
    log_containers: list[str] | None = Field(
        default=None,
        description="Containers whose lines are shown and returned. Default: the first one; the receipt counts them all.",
    )
    strict: bool = Field(
        default=False,
        description="Whether a field of the manifest that has no effect here is an error instead of a note in the log.",
    )
    max_log_characters: int | None = Field(
        default=None,
        ge=0,
        description="Longest log returned whole; of a longer one, head and tail. 0: no cap. Default: CPLN_MAX_LOG_CHARACTERS.",
    )

    @model_validator(mode="before")
    @classmethod
    def _places(cls, values: Any) -> Any:
        """Leave empty places to the environment, and take the organization from the GVC's link where nothing else names one.

        prefect-cpln saved null for what was not given, so that it is filled in where the job runs.
        """
        values = without_empty(values, "credentials", "org", "namespace", "location")
        if isinstance(values, dict) and values.get("org") is None and isinstance(given := values.get("namespace"), str):
            with suppress(ValueError):  # said by the field's own validator
                if (org := links.gvc(given).org) and CplnSettings.load().org is None:
                    return values | {"org": org}
        return values

    if TYPE_CHECKING:

        @classmethod
        def load(cls, name: str, validate: bool = True, client: PrefectClient | None = None) -> Self:
            """Load a saved block; Prefect's own type does not say what a sync caller gets."""

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore what was pickled."""
        super().__setstate__(state)
        self.credentials.is_part_of(self._block_document_id)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Return what a log or an error shows of this block: no value of the manifest that may be a secret."""
        arguments = super().__repr_args__()
        return [(name, masking.shown(value) if name == "v1_job" else value) for name, value in arguments]

    @field_validator("v1_job", mode="before")
    @classmethod
    def _plain_manifest(cls, value: Any) -> Any:
        if hasattr(value, "to_dict"):
            kind = type(value).__name__
            raise ValueError(f"expected a dictionary, found a {kind}{conversion.OF_A_CLIENT}")
        return value

    @field_validator("location")
    @classmethod
    def _location_name(cls, value: str | None) -> str | None:
        return links.location(value) if value else None

    @field_validator("org")
    @classmethod
    def _org_name(cls, value: str) -> str:
        return links.organization(value)

    @field_validator("namespace")
    @classmethod
    def _gvc_name(cls, value: str, info: ValidationInfo) -> str:
        return links.gvc_of(info.data.get("org"), value).name

    @classmethod
    def from_yaml_file(cls, manifest_path: Path | str, **kwargs: Any) -> Self:
        """Make a job from a file.

        Args:
            manifest_path: File with the manifest, in YAML or JSON.
            kwargs: Other fields of the block.

        Raises:
            ManifestError: The file is no manifest that can be run on the platform; each fault has its line and column.
        """
        path = Path(manifest_path)
        with path.open("rb") as file:
            content = file.read(yaml_text.MOST_BYTES + 1)  # a device or the wrong file may have no end
        found = conversion.parse_source(content, source=str(path))
        made = cls(v1_job=dict(found.document), **kwargs)
        try:
            made.manifest()
        except ManifestError as error:
            raise found.located(error) from None
        return made

    def preview(self) -> Preview:
        """Return the workload that this job would run on, without asking the platform for anything.

        Raises:
            ManifestError: The manifest cannot be run on the platform.
        """
        plan = self.plan(JobIdentity.anonymous(), self.location or "the first location of the GVC")
        return Preview(plan.workload_body(plan.workload_of(0)), plan.manifest.notes)

    def manifest(self) -> JobManifest:
        """Return the job that the platform will run.

        Raises:
            ManifestError: The manifest cannot be run on the platform; with ``strict`` also if anything in it has no effect.
        """
        found = conversion.convert(self.v1_job, gvc=self.namespace, default_image=get_prefect_image_name())
        if found.job_type == "cron":
            left_out = f"its schedule {found.schedule!r} is left out: this copy runs once, and the workload is suspended"
            found = replace(found, job_type="standard", notes=(*found.notes, Fault("spec.job.schedule", left_out)))
        if self.strict and found.notes:
            raise ManifestError(found.notes)
        return found

    @sync_compatible
    async def trigger(self) -> CplnJobRun:  # type: ignore[override]  # Prefect's is typed for async callers alone
        """Start the job; awaited in async code, called plainly in sync code.

        Returns:
            The run, to be waited for.

        Raises:
            ManifestError: The manifest cannot be run on the platform.
            JobTimeoutError: The workload did not become ready.
            SubmissionUnknownError: It cannot be told whether the job was started.
        """
        run = CplnJobRun(self, JobIdentity.anonymous(CplnSettings.load().workload))
        await run.start()
        return run

    def plan(self, identity: JobIdentity, location: str) -> JobPlan:
        """Return what will be sent for one job of this block."""
        manifest = self.manifest()
        names = [container.name for container in manifest.containers]
        if unknown := sorted({*(self.log_containers or ())} - {*names}):
            raise ConfigurationError(
                f"log_containers: the manifest has no container {', '.join(map(repr, unknown))}; it has {', '.join(names)}"
            )
        return JobPlan(
            gvc=GvcRef(self.org, self.namespace),
            location=location,
            manifest=manifest,
            submission=identity.submission,
            owner=identity.owner,
            private=self.delete_after_completion,
        )


class Preview(dict[str, Any]):
    """The manifest of a workload, with what the conversion has noted.

    Attributes:
        notes: What has no effect, and what was filled in.
    """

    def __init__(self, workload: Mapping[str, Any], notes: Sequence[Fault]) -> None:
        super().__init__(workload)
        self.notes: tuple[str, ...] = tuple(map(str, notes))


class CplnJobRun(JobRun[str]):
    """One run of a job.

    Args:
        cpln_job: What to run.
        identity: Which intended job this is, and whose.
        settings: Endpoint, waits and graces. Default: the environment's.

    """

    def __init__(self, cpln_job: CplnJob, identity: JobIdentity, settings: CplnSettings | None = None) -> None:
        self._block = cpln_job
        self._identity = identity
        self._settings = settings or CplnSettings.load()
        self._transcript = Transcript(self._most_characters())
        self._stream: LogStream | None = None
        self._sink: Printer | Forwarder | None = None
        self._plan: JobPlan | None = None
        self._submitter: Submitter | None = None
        self._job: StartedJob | None = None
        self._ending: Ending | None = None
        self._cleaned = False
        self._leftover: str | None = None
        self._cancelled = False
        self._abandoned = False

    def __repr__(self) -> str:
        return f"CplnJobRun({self.infrastructure_pid or 'not started'})"

    @property
    def logs(self) -> list[str]:
        """Lines delivered so far, each as ``"{timestamp} - {line}"``; past the cap, a line says what was left out."""
        return self._transcript.lines

    @property
    def receipt(self) -> LogReceipt:
        """What was got of the job's log so far: lines, bytes and digest of each stream, and what is known to be missing."""
        return self._stream.receipt if self._stream else LogReceipt()

    @property
    def infrastructure_pid(self) -> str | None:
        """``org:gvc:workload:command_id``, once the job is started."""
        return self._job.ref.pid if self._job else None

    @property
    def command_id(self) -> str | None:
        """Id of the command on the platform, once the job is started."""
        return self._job.ref.command_id if self._job else None

    @property
    def console_url(self) -> str | None:
        """Where the platform's console shows the workload of this job."""
        return console_url(self._job.ref.workload_ref.path) if self._job else None

    @sync_compatible
    async def wait_for_completion(self, print_func: PrintFunc | None = None) -> None:  # type: ignore[override]
        """Follow the job to its end and deliver its log line by line.

        Whatever interrupts the wait stops the job. A workload of the job's own is deleted after its log was read.

        Args:
            print_func: Gets every line as ``"{timestamp} - {line}"``, the time in UTC. An error in it does not stop the job.
                Without, lines go into the logs of the flow or task run that waits, as far as the budget for these allows.
                Of a job that is gone on with after its process died, these logs, and a ``print_func`` that is a method of a
                run's logger, get what is not there yet; any other function gets all lines, because only it knows.

        Raises:
            JobFailedError: The job failed; carries exit code, reason and last lines. A ``RuntimeError`` too.
            JobCancelledError: The job was stopped by somebody else.
            JobTimeoutError: The job took longer than ``timeout_seconds`` and was stopped.
            JobLostError: Nothing shows the job any more.
            JobAccessLostError: The platform refuses the token; the job may still run.
            ConfigurationError: ``print_func`` is asynchronous.
        """
        await self.complete(print_func)

    async def complete(self, print_func: PrintFunc | None = None) -> None:
        """Follow the job to its end, as ``wait_for_completion`` does; log in a run why it did not complete."""
        with self._reporting():
            await self._complete(print_func)

    async def _complete(self, print_func: PrintFunc | None) -> None:
        printing.check(print_func)
        shown = await self._shown_before(print_func or self.logger) if self._started().adopted else None
        self._sink = Printer(print_func, self._journal(), shown) if print_func else self._into_prefect(shown)
        try:
            async with self.connected() as shared:
                self._ending = await self._follow(shared)
                await self._clean(shared)
        except CplnError as error:
            # Nobody sees whether such a job runs: it is left alone, also by whoever calls `abandon` after this.
            self._abandoned = self._abandoned or isinstance(error, _OUT_OF_SIGHT)
            await self._clean_after(error)
            if self._cancelled and isinstance(error, JobLostError):
                raise self._cancelled_error() from error
            raise
        except BaseException:
            await self.abandon("the caller was interrupted")
            raise
        if not self._ending.succeeded:
            raise self._error_of(self._ending)
        self._journal().info(Area.JOB, f"Completed; log {self.receipt}")

    @sync_compatible
    async def fetch_result(self) -> str:  # type: ignore[override]
        """Return the log of the job, joined to one text.

        Raises:
            ValueError: The job was not waited for, or did not succeed.
        """
        if self._ending is None or not self._ending.succeeded:
            raise ValueError("the job has not completed; call `wait_for_completion` first")
        return self._transcript.text

    @sync_compatible
    async def cancel(self) -> None:
        """Stop the job, make sure that it is over, and delete its workload if that is its own.

        Raises:
            JobError: The job could not be seen to have ended.
        """
        self._cancelled = True
        stopped = await self._stop_and_clean("cancel was asked for")
        if stopped is not None and not stopped.verified:
            pid = self.infrastructure_pid
            raise JobError(f"job {pid} may still run, it was not seen to end: {stopped.evidence}", infrastructure_pid=pid)

    async def start(self) -> None:
        """Start the job, or find the one that an earlier attempt has started; interrupted, leave none behind."""
        with self._reporting():
            self._journal().info(Area.JOB, "Creating Control Plane job...")
            await self._start()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Log an error of ours whole in the log of a run; elsewhere its text is the report."""
        try:
            yield
        except CplnError as error:
            if sync_compat.in_run():
                has_no_job = self._job is None and not isinstance(error, SubmissionUnknownError)
                self._journal().report(error, about_start=has_no_job)
            raise

    async def _start(self) -> None:
        try:
            async with self.connected() as shared:
                plan = self._block.plan(self._identity, "")  # a wrong manifest is said before anything is asked for
                self._plan = plan = replace(plan, location=await self._location(shared))
                self._warn_of_loopback(plan)
                self._submitter = self._submission(shared, plan)
                self._job = await self._submitter.submit()
        except SubmissionUnknownError:
            await self.abandon("it is unknown whether the job was started, and nobody would wait for it")
            raise
        except CplnError as error:
            await self._clean_after(error)
            raise
        except BaseException:
            await self.abandon("the caller was interrupted")
            raise
        self._journal().debug(Area.JOB, f"pid {self.infrastructure_pid}, console {self.console_url}")

    def connected(self) -> AbstractAsyncContextManager[JobSession]:
        """Keep the connections open over several steps of this run; without, each step makes its own."""
        credentials, holder = self._block.credentials, self._block._block_document_id  # noqa: SLF001 - Prefect has no other way
        return session.shared(credentials.api_settings(self._settings), partial(credentials.present_token, holder))

    async def record_pid(self) -> None:
        """Store the pid on the flow run that has started the job; the job does not depend on it."""
        try:
            await orchestration.record_pid(self._identity.owner, self._started().ref.pid)
        except Exception as error:  # noqa: BLE001 - a convenience for people who look at the run
            self._journal().warning(Area.JOB, f"The infrastructure pid could not be stored on the flow run: {error!r}")

    async def abandon(self, reason: str) -> None:
        """Stop the job because nobody waits for it any more; shielded from cancellation, bounded in time, never raises.

        Done once: whoever notices the interruption later finds it done, and does not take the same time again.
        """
        if self._abandoned:
            return
        self._abandoned = True
        with anyio.CancelScope(shield=True), anyio.move_on_after(sync_compat.CLEANUP_SECONDS) as scope:
            try:
                stopped = await self._stop_and_clean(reason)
            except Exception as error:  # noqa: BLE001 - the interruption itself is what the caller must see
                self._journal().warning(Area.KILL, f"The job could not be stopped: {error}")
                return
            if stopped is not None and not stopped.verified:
                self._journal().warning(Area.KILL, f"The job may still run: {stopped.evidence}")
        if scope.cancelled_caught:
            self._journal().warning(
                Area.KILL, f"The job could not be stopped within {sync_compat.CLEANUP_SECONDS} s, it may still run"
            )

    async def _stop_and_clean(self, reason: str) -> stop.Stopped | None:
        if self._plan is None or self._cleaned:
            return None
        async with self.connected() as shared:
            stopped = None
            if self._job is None:
                self._job, stopped = await self._of_lost_start(shared)
            if self._job is not None and self._ending is None:
                left = anyio.current_effective_deadline() - anyio.current_time() - _CLEANUP_RESERVE_SECONDS
                stopped = await stop.stop(
                    shared.client,
                    self._job.ref,
                    location=self._job.location,
                    reason=reason,
                    grace_seconds=max(0.0, min(self._settings.stop_grace_seconds, left)),
                    journal=self._journal(),
                )
            await self._clean(shared)
        return stopped

    def _warn_of_loopback(self, plan: JobPlan) -> None:
        for container in plan.manifest.containers:
            if addresses.is_loopback(container.env.get(PREFECT_API_URL)):
                self._journal().warning(
                    Area.INIT,
                    f"{PREFECT_API_URL} in the environment of container {container.name} is a loopback address: it leads the"
                    " job to itself and not to your Prefect server; set one that the job can reach",
                )

    async def _of_lost_start(self, shared: JobSession) -> tuple[StartedJob | None, stop.Stopped | None]:
        """Find a job whose start was interrupted before its answer arrived; say so when it could not be looked for."""
        if self._plan is None or self._submitter is None or not self._submitter.asked:
            return None, None
        try:
            return await self._submission(shared, self._plan).find(), None
        except CplnError as error:
            return None, stop.Stopped(False, f"it is unknown whether it was started, and looking for it failed: {error}")

    def _submission(self, shared: JobSession, plan: JobPlan) -> Submitter:
        return Submitter(
            shared.client,
            plan,
            self._identity.earlier,
            self._journal(),
            self._settings.ready_timeout_seconds,
            self._settings.query_settle_seconds,
        )

    async def _clean(self, shared: JobSession, *, only_idle: bool = False) -> None:
        """Delete the private workload of this job; a failure is said and kept for the job's own error, and never raised."""
        if self._plan is None or not self._has_leftovers():
            return
        workload = self._workload()
        try:
            await stop.delete_workload(shared.client, workload, journal=self._journal(), only_idle=only_idle)
            self._cleaned = True
            if self._plan.grant is not None:
                await grants.withdraw(shared.client, workload)
        except CplnError as error:
            self._leave(workload.name, str(error))

    def _workload(self) -> WorkloadRef:
        assert self._plan is not None, "what is to be deleted was planned"  # noqa: S101 - for the type checker
        return self._job.ref.workload_ref if self._job else self._plan.workload_of(self._plan.submission.attempt)

    def _leave(self, name: str, why: str) -> None:
        self._leftover = f"The workload {name} could not be deleted: {why}; the clean-up flow does that after 24 h without use"
        self._journal().warning(Area.CLEANUP, self._leftover)

    async def _clean_after(self, error: CplnError) -> None:
        """Delete the workload after an error; what goes wrong with that becomes a note on the error."""
        if not self._has_leftovers():
            return
        with anyio.CancelScope(shield=True), anyio.move_on_after(sync_compat.CLEANUP_SECONDS) as scope:
            async with self.connected() as shared:
                await self._clean(shared, only_idle=self._is_of_others() or isinstance(error, _OUT_OF_SIGHT))
        if scope.cancelled_caught:
            self._leave(self._workload().name, f"no answer within {sync_compat.CLEANUP_SECONDS} s")
        self._note_leftover(error)

    def _is_of_others(self) -> bool:
        """Whether the workload may be that of another process of the same submission, which has started its job on it."""
        return self._job is None and self._submitter is not None and self._submitter.workload_found

    def _note_leftover(self, error: CplnError) -> None:
        if not self._cleaned and self._leftover:
            error.add_note(self._leftover)

    def _has_leftovers(self) -> bool:
        made = self._job is not None or (self._submitter is not None and self._submitter.workload_made)
        return self._plan is not None and self._plan.private and made and not self._cleaned

    async def _location(self, shared: JobSession) -> str:
        gvc = GvcRef(self._block.org, self._block.namespace)
        try:
            found = self._block.location or await workloads.first_location(shared.client, gvc)
        except NotFoundError as error:
            raise access.not_found(error, gvc) from error
        if not found:
            raise ConfigurationError(
                f"location: none given, CPLN_LOCATION is not set, and the GVC {gvc.gvc} has no locations of its own; give one"
                " in the job's field location, or in CPLN_LOCATION"
            )
        return found

    async def _follow(self, shared: JobSession) -> Ending:
        while True:
            follower = self._follower(shared)
            self._stream = follower.stream
            outcome = await follower.follow()
            if isinstance(outcome, Ending):
                self._tell_end_of_log(outcome)
                return outcome
            self._job = outcome.by
            self._journal().warning(Area.JOB, "This older job of the same submission is followed instead, its log from the start")
            self._transcript.clear()

    def _follower(self, shared: JobSession) -> Follower:
        job, plan = self._started(), self._plan
        assert plan is not None, "a started job has a plan"  # noqa: S101 - for the type checker
        return Follower(
            session=shared,
            job=job,
            main=plan.manifest.main.name,
            has_sidecars=len(plan.manifest.containers) > 1,
            restarts=plan.manifest.restarts,
            deliver=self._deliver,
            journal=self._journal(),
            settings=self._settings,
            interval_seconds=self._block.interval_seconds,
            timeout_seconds=self._block.timeout_seconds,
            older=self._submission(shared, plan).older_than,
            is_stopped=lambda: self._cancelled and self._cleaned,
        )

    def _deliver(self, batch: Batch) -> None:
        shown = self._shown_containers()
        if batch.key.container not in shown:
            return
        lines = log_lines.render(batch, f"[{batch.key.container}] " if len(shown) > 1 else "")
        self._transcript.add(lines)
        if self._sink is not None:
            self._sink.send(lines)

    def _shown_containers(self) -> list[str]:
        plan = self._plan
        first = [plan.manifest.main.name] if plan else []
        return first if self._block.log_containers is None else self._block.log_containers

    def _most_characters(self) -> int | None:
        given = self._block.max_log_characters
        return (self._settings.max_log_characters if given is None else given) or None

    def _into_prefect(self, shown: Shown | None) -> Forwarder | None:
        """Return the way into the logs of the run that waits; outside of a run nobody has asked for lines."""
        if not sync_compat.in_run():
            return None
        where = f"stream_logs({self.infrastructure_pid!r}), or {self.console_url}"
        return Forwarder(self.logger, replace(orchestration.log_budget(self._settings), where=where), shown)

    async def _shown_before(self, logger: object) -> Shown | None:
        """Return which lines another process has put into the same log of Prefect, if the lines go into one."""
        run_id = orchestration.log_of(logger)
        if run_id is None:
            return None
        try:
            return await orchestration.shown_in(run_id)
        except Exception as error:  # noqa: BLE001 - lines that come twice are no reason to lose the job
            self._journal().warning(Area.LOGS, f"Lines that are shown already may come again: {error!r}")
            return None

    def _tell_end_of_log(self, end: Ending) -> None:
        if self._sink is not None:
            self._sink.finish()
        if not end.succeeded:
            self._journal().info(Area.LOGS, f"The log is {self.receipt}")

    def _error_of(self, end: Ending) -> JobError:
        error = failure.error_of(end, failure.Place(self._started(), not self._cleaned), self._transcript.last(_LAST_LINES))
        self._note_leftover(error)
        return error

    def _cancelled_error(self) -> JobCancelledError:
        pid = self.infrastructure_pid
        return JobCancelledError(f"job {pid} was stopped and its workload deleted: cancel was asked for", infrastructure_pid=pid)

    def _started(self) -> StartedJob:
        if self._job is None:
            raise ValueError("the job was not started; call `trigger` first")
        return self._job

    def _journal(self) -> Journal:
        owner = self._identity.owner
        known = LogContext(owner.flow_name, owner.flow_run_id, self._block.namespace)
        journal = Journal(self.logger, known)
        return journal.about(workload=self._job.ref.workload, command_id=self._job.ref.command_id) if self._job else journal
