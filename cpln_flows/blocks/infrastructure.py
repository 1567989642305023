"""The infrastructure blocks of the Prefect 2 fork, on Prefect 3.

A block runs a command as a job, or becomes a work pool. Prefect 3 has no agents that would run
deployments with such a block, so a block that deployments use is published as a pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import yaml
from prefect.blocks.core import Block
from prefect.logging import get_logger, get_run_logger
from pydantic import ConfigDict, Field, field_validator, model_validator

from cpln_flows import sync_compat
from cpln_flows.blocks import published_pool
from cpln_flows.blocks.credentials import DOCUMENTATION_URL, LOGO_URL, CplnConfig, CplnCredentials
from cpln_flows.blocks.job import CplnJob
from cpln_flows.blocks.job_run import CplnJobRun, PrintFunc
from cpln_flows.blocks.pool_template import COMMAND, chosen_start_seconds, is_outdated
from cpln_flows.blocks.saved import without_empty
from cpln_flows.errors import ConfigurationError, JobFailedError, ManifestError
from cpln_flows.jobs import kill, session
from cpln_flows.logger import Journal
from cpln_flows.manifest import conversion, customization, yaml_text
from cpln_flows.manifest.customization import Shortcuts
from cpln_flows.model.field_errors import ClearErrors
from cpln_flows.model.identifiers import LogContext
from cpln_flows.model.links import GvcRef
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import CplnSettings
from cpln_flows.sync_compat import sync_compatible

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

_HIDDEN = frozenset({"env", "labels", "command", "job", "customizations"})
_UNKNOWN_EXIT_CODE = -1


class CplnInfrastructureConfig(CplnConfig):
    """How an infrastructure block authenticates with Control Plane.

    Attributes:
        token: A service account key of the organization.

    Example:
        Save a configuration:
        ```python
        from cpln_flows import CplnInfrastructureConfig

        CplnInfrastructureConfig(token="my-service-account-key").save("cpln-infra-config")
        ```
    """

    _block_type_name = "Control Plane Infrastructure Config"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL


@dataclass(frozen=True)
class CplnInfrastructureResult:
    """How the command of an infrastructure block ended.

    Attributes:
        identifier: Infrastructure pid of the job, ``org:gvc:workload:command_id``.
        status_code: Exit code of the main container; -1 if the job failed and the platform does
            not report the code.

    Example:
        >>> bool(CplnInfrastructureResult("acme:dev:w:c", 0))
        True
        >>> bool(CplnInfrastructureResult("acme:dev:w:c", 3))
        False
    """

    identifier: str
    status_code: int

    def __bool__(self) -> bool:
        return self.status_code == 0


class CplnInfrastructure(Block, metaclass=ClearErrors):
    """A command as a job on Control Plane, with the fields that the fork of Prefect 2 stored.

    Attributes:
        type: The fork's name of this kind of infrastructure.
        env: Environment variables of the container; those without a value are left out.
        labels: Labels of the job, which become tags.
        name: What the names of its jobs begin with.
        command: Command line, as a list. A published pool runs flows without one.
        config: How to authenticate. Default: ``CPLN_TOKEN``.
        org: Organization, as a name or a link. Default: ``CPLN_ORG`` where the job runs.
        namespace: Global virtual cloud (GVC), as a name or a link. Default: ``CPLN_GVC`` where the
            job runs.
        location: Location, as a name or a link. Default: ``CPLN_LOCATION``, else the first
            location of the GVC.
        service_account_name: Identity that the job runs as, by name or link.
        job: Manifest of a Kubernetes Job.
        customizations: JSON patch (RFC 6902) of the manifest: a list of operations, a single
            operation, or either as a string.
        image: Image of the container. Default: that of the manifest, else Prefect's own, which
            also replaces an image of Prefect 2.
        job_watch_timeout_seconds: How long the job may take before it is stopped, in seconds.
            Default: no limit.
        pod_watch_timeout_seconds: How long its workload may take to become ready, in seconds. The
            fork stored 60 if nothing was chosen, so 60 stands for ``CPLN_READY_TIMEOUT`` here.
        stream_output: Whether the job's lines go into the log of the flow run, or are printed
            outside of a run.

    Example:
        Run a command, then create a work pool that runs flows in the same way:
        ```python
        from cpln_flows import CplnInfrastructure

        infrastructure = CplnInfrastructure.load("cpln-infra")
        infrastructure.publish_as_work_pool("cpln-infra")
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "Control Plane Infrastructure"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    type: Literal["cpln-infrastructure"] = Field(
        default="cpln-infrastructure", description="The kind of infrastructure."
    )
    env: dict[str, str | None] = Field(
        default_factory=dict,
        title="Environment",
        description="Environment variables of the container.",
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="Labels of the job, which become tags."
    )
    name: str | None = Field(default=None, description="What the names of its jobs begin with.")
    command: list[str] | None = Field(
        default=None,
        description=(
            "Command line of the container. A pool made from this block runs flows without one."
        ),
    )
    config: CplnInfrastructureConfig | None = Field(
        default=None,
        description="Configuration with the token. Default: the environment variable CPLN_TOKEN.",
    )
    org: str | None = Field(
        default=None, description="Organization. Default: the environment variable CPLN_ORG."
    )
    namespace: str | None = Field(
        default=None, description="GVC. Default: the environment variable CPLN_GVC."
    )
    location: str | None = Field(
        default=None,
        description=(
            "Location. Default: the environment variable CPLN_LOCATION,"
            " else the GVC's first location."
        ),
    )
    service_account_name: str | None = Field(
        default=None, description="Identity that the job runs as, by name or link."
    )
    job: dict[str, Any] = Field(
        default_factory=customization.base_job,
        title="Base Job Manifest",
        description="Manifest of a Kubernetes Job.",
    )
    customizations: list[dict[str, Any]] = Field(
        default_factory=list,
        description="JSON patch (RFC 6902) of the manifest: a list of operations.",
    )
    image: str | None = Field(
        default=None,
        description="Image of the container. Default: that of the manifest, else Prefect's own.",
    )
    job_watch_timeout_seconds: int | None = Field(
        default=None,
        gt=0,
        description="Seconds that the job may take before it is stopped. Default: no limit.",
    )
    pod_watch_timeout_seconds: int | None = Field(
        default=60,
        gt=0,
        description=(
            "Seconds that the workload may take to become ready;"
            " 60 stands for the setting CPLN_READY_TIMEOUT."
        ),
    )
    stream_output: bool = Field(
        default=True, description="Whether the lines of the job are logged or printed."
    )

    if TYPE_CHECKING:

        @classmethod
        def load(
            cls, name: str, validate: bool = True, client: PrefectClient | None = None
        ) -> Self:
            """Load a saved block; Prefect's own type does not declare what a sync caller gets."""

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore what was pickled."""
        super().__setstate__(state)
        if self.config is not None:
            self.config.is_part_of(self._block_document_id)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Return what a log or an error may show, without the fields that may hold secrets."""
        return [(name, value) for name, value in super().__repr_args__() if name not in _HIDDEN]

    @model_validator(mode="before")
    @classmethod
    def _empty_fields(cls, values: Any) -> Any:
        """Leave null and empty fields to the environment.

        The fork stored them like that on a machine without ``CPLN_*``.
        """
        return without_empty(
            values,
            "env",
            "labels",
            "name",
            "config",
            "org",
            "namespace",
            "location",
            "service_account_name",
            "job",
            "image",
        )

    @field_validator("customizations", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        try:
            return customization.operations(value)
        except ManifestError as error:
            said = (
                f"{fault.path.removeprefix('customizations')} {fault.message}".strip()
                for fault in error.faults
            )
            raise ValueError("; ".join(said)) from None

    @classmethod
    def base_job_manifest(cls) -> dict[str, Any]:
        """Return the default manifest of a block, with one container."""
        return customization.base_job()

    @classmethod
    def job_from_file(cls, filename: Path | str) -> dict[str, Any]:
        """Read the manifest of a job.

        Args:
            filename: File with YAML or JSON.

        Raises:
            ManifestError: The file is not a manifest; the message names the file.
        """
        return dict(conversion.parse_yaml(_read(filename), source=str(filename)))

    @classmethod
    def customize_from_file(cls, filename: Path | str) -> list[dict[str, Any]]:
        """Read a JSON patch (RFC 6902).

        Args:
            filename: File with YAML or JSON.

        Returns:
            Its operations, for the field ``customizations``.

        Raises:
            ManifestError: The file is not a patch; the message names each faulty operation.
        """
        return customization.operations(_read(filename))

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of the job: fields and patch laid over ``job``.

        Raises:
            ManifestError: The patch cannot be applied.
        """
        return customization.customized(
            self.job, self.shortcuts(self.command or []), self.customizations
        )

    def shortcuts(self, command: list[str]) -> Shortcuts:
        """Return what the fields of this block put into its manifest.

        Args:
            command: Arguments of the container; an empty list leaves those of the manifest.
        """
        return Shortcuts(
            command=command,
            env=self.env,
            image=None if is_outdated(self.image) else self.image,
            labels=self.labels,
            name=self.name,
            service_account=self.service_account_name,
        )

    def preview(self) -> str:
        """Return the manifest of the job as YAML, as the fork printed it.

        Raises:
            ManifestError: The manifest cannot be run on the platform; every fault is named.
        """
        _job_of(self, COMMAND).manifest()
        return yaml.safe_dump(self.manifest(), sort_keys=False)

    @sync_compatible
    async def run(self) -> CplnInfrastructureResult:
        """Run the command as a job and wait for its end.

        Await it in async code, call it plainly in sync code. The job's lines go into the log of
        the flow run that calls it, or are printed outside of a run. Whatever interrupts the wait
        stops the job. Each call starts a job of its own. A flow that may be retried should call
        ``run_namespaced_job`` instead, which resumes the job of the previous attempt.

        Returns:
            The infrastructure pid and the exit code; false if the command failed.

        Raises:
            ConfigurationError: There is no command, or no place to run it is configured.
            ManifestError: The manifest cannot be run on the platform.
            JobTimeoutError: The job took longer than ``job_watch_timeout_seconds``, or its
                workload did not become ready in time.
            JobCancelledError: Somebody else stopped the job.
        """
        if not self.command:
            raise ConfigurationError(
                "command: none is given; set it, or publish this block as a work pool to run flows"
                " with it"
            )
        settings = CplnSettings.load()
        if seconds := chosen_start_seconds(self.pod_watch_timeout_seconds):
            settings = settings.model_copy(update={"ready_timeout_seconds": seconds})
        job_run = CplnJobRun(_job_of(self), JobIdentity.anonymous(settings.workload), settings)
        await job_run.start()
        try:
            await job_run.complete(_print_func(self))
        except JobFailedError as error:
            code = _UNKNOWN_EXIT_CODE if error.exit_code is None else error.exit_code
            return CplnInfrastructureResult(str(job_run.infrastructure_pid), code)
        return CplnInfrastructureResult(str(job_run.infrastructure_pid), 0)

    @sync_compatible
    async def kill(self, infrastructure_pid: str, grace_seconds: int = 30) -> None:
        """Stop a job and verify that it is over.

        Args:
            infrastructure_pid: The job, ``org:gvc:workload:command_id``, as ``run`` returns it.
            grace_seconds: How long the job may take to end, in seconds.

        Raises:
            prefect.exceptions.InfrastructureNotFound: There is no such job, or it is over already.
            prefect.exceptions.InfrastructureNotAvailable: It is in another organization or GVC, or
                it did not stop.
        """
        job, settings = _job_of(self, COMMAND), CplnSettings.load()
        ref = kill.own_job(infrastructure_pid, GvcRef(job.org, job.namespace), "block's are")
        journal = Journal(
            get_run_logger() if sync_compat.in_run() else get_logger("cpln_flows"), LogContext()
        )
        async with session.shared(job.credentials.api_settings(settings)) as shared:
            await kill.kill(shared.client, ref, grace_seconds=grace_seconds, journal=journal)

    @sync_compatible
    async def publish_as_work_pool(self, name: str, *, overwrite: bool = False) -> None:
        """Create a work pool of type ``cpln`` that runs flows as this block did for an agent.

        Its template has the manifest of this block, and its variables have the block's values as
        defaults. The token stays in the saved configuration, to which the pool refers. A
        configuration that was not saved yet is saved under the pool's name.

        Args:
            name: Name of the pool.
            overwrite: Whether to replace the template of an existing pool that differs.

        Raises:
            ConfigurationError: A pool with this name exists, and has another type or differs.
            ManifestError: The manifest cannot be run on the platform.

        Example:
            ```python
            from prefect import flow
            from cpln_flows import CplnInfrastructure

            CplnInfrastructure.load("cpln-infra").publish_as_work_pool("cpln-infra")
            flow.from_source(
                source="https://github.com/acme/flows", entrypoint="repo_info.py:repo_info"
            ).deploy(name="repo-info-deployment", work_pool_name="cpln-infra")
            ```
        """
        _job_of(self, COMMAND).manifest()
        await published_pool.publish(self, name, overwrite=overwrite)


def _job_of(block: CplnInfrastructure, *stand_in: str) -> CplnJob:
    """Return the job of a block, with ``stand_in`` as its command if it has none."""
    places: Mapping[str, Any] = {
        "org": block.org,
        "namespace": block.namespace,
        "location": block.location,
    }
    shortcuts = block.shortcuts(block.command or list(stand_in))
    return CplnJob(
        credentials=CplnCredentials(config=block.config),
        v1_job=customization.customized(block.job, shortcuts, block.customizations),
        delete_after_completion=False,
        timeout_seconds=block.job_watch_timeout_seconds,
        **{name: value for name, value in places.items() if value is not None},
    )


def _print_func(block: CplnInfrastructure) -> PrintFunc | None:
    if not block.stream_output:
        return _discard
    return None if sync_compat.in_run() else print


def _discard(line: str) -> None:
    """Discard a line that nobody wants to see."""


def _read(filename: Path | str) -> bytes:
    with Path(filename).open("rb") as file:
        return file.read(yaml_text.MOST_BYTES + 1)  # a device or the wrong file may have no end
