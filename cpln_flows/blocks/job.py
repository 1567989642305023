"""The job block: what users configure, and what they get back.

The package ``jobs`` runs the job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from prefect.blocks.abstract import JobBlock
from prefect.utilities.dockerutils import get_prefect_image_name
from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from cpln_flows.blocks.credentials import DOCUMENTATION_URL, LOGO_URL, CplnCredentials
from cpln_flows.blocks.job_run import CplnJobRun
from cpln_flows.blocks.saved import without_empty
from cpln_flows.errors import (
    ConfigurationError,
    Fault,
    ManifestError,
)
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.manifest import conversion, yaml_text
from cpln_flows.manifest.manifest import JobManifest
from cpln_flows.model import links
from cpln_flows.model.field_errors import ClearErrors
from cpln_flows.model.links import GvcRef
from cpln_flows.orchestration import JobIdentity
from cpln_flows.reconcile import masking
from cpln_flows.settings import CplnSettings
from cpln_flows.sync_compat import sync_compatible

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient


def _org() -> str:
    return _from_environment("org", "CPLN_ORG")


def _gvc() -> str:
    return _from_environment("gvc", "CPLN_GVC")


def _from_environment(name: str, variable: str) -> str:
    found = getattr(CplnSettings.load(), name)
    if not found:
        field = "namespace" if name == "gvc" else name
        raise ConfigurationError(
            f"CplnJob: {field} is not given, and {variable} is not set:"
            f" give {field}=... or set {variable}"
        )
    return str(found)


class CplnJob(JobBlock[str], metaclass=ClearErrors):
    """A job on Control Plane: what to run, where, and for how long.

    Attributes:
        credentials: The credentials with which the job is run.
        org: Organization, as a name or a link. Default: ``CPLN_ORG``, which the platform sets
            inside its workloads.
        namespace: Global virtual cloud (GVC), as a name or a link. Default: ``CPLN_GVC``.
        location: Where to run, as a name or a link. Default: ``CPLN_LOCATION``, else the first
            location of the GVC.
        v1_job: Manifest of a Kubernetes Job or of a native cron workload.
        delete_after_completion: Run on a workload of its own, and delete it when the job has ended,
            however it ended. If false, jobs of the same specification share a workload.
        interval_seconds: Longest time between two polls of the job's state, in seconds; short jobs
            are polled more often.
        timeout_seconds: How long the job may take from its start before it is stopped, in seconds.
            Default: no limit.
        log_containers: Containers whose lines are shown and returned, each line with its
            container's name if there are several. Default: the first container alone. The receipt
            counts the lines of all containers.
        strict: Refuse a manifest in which a field has no effect here or a value is filled in. If
            false, the log, ``preview()`` and the plan note such fields.
        max_log_characters: About how long the returned log may be. Of a longer log, head and tail
            are kept, and a line states what was left out. 0 means no cap. Default:
            ``CPLN_MAX_LOG_CHARACTERS``, which is 64 million.

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
        default_factory=CplnCredentials,
        description="The credentials to configure a Control Plane API client from.",
    )
    org: str = Field(
        default_factory=_org,
        validate_default=True,
        description="The organization. Default: the environment variable CPLN_ORG.",
    )
    namespace: str = Field(
        default_factory=_gvc,
        validate_default=True,
        description="The GVC. Default: the environment variable CPLN_GVC.",
    )
    location: str | None = Field(
        default_factory=lambda: CplnSettings.load().location,
        description=(
            "The location. Default: the environment variable CPLN_LOCATION,"
            " else the GVC's first location."
        ),
    )
    v1_job: dict[str, Any] = Field(
        default=...,
        title="Job Manifest",
        description="Manifest of a Kubernetes Job or of a native cron workload.",
    )
    delete_after_completion: bool = Field(
        default=True, description="Whether to delete the job's workload after the job has ended."
    )
    interval_seconds: float = Field(
        default=5,
        gt=0,
        description="Longest time between two polls of the job's state, in seconds.",
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Seconds that the job may take before it is stopped. Default: no limit.",
    )
    log_containers: list[str] | None = Field(
        default=None,
        description=(
            "Containers whose lines are shown and returned."
            " Default: the first one; the receipt counts them all."
        ),
    )
    strict: bool = Field(
        default=False,
        description=(
            "Whether a field of the manifest that has no effect here is an error"
            " instead of a note in the log."
        ),
    )
    max_log_characters: int | None = Field(
        default=None,
        ge=0,
        description=(
            "Longest log that is returned whole, in characters; of a longer one, head and tail."
            " 0: no cap. Default: CPLN_MAX_LOG_CHARACTERS."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _places(cls, values: Any) -> Any:
        """Leave empty places to the environment, which fills them in where the job runs.

        prefect-cpln saved null for what was not given. If nothing else names an organization, take
        it from the GVC's link.
        """
        values = without_empty(values, "credentials", "org", "namespace", "location")
        if (
            isinstance(values, dict)
            and values.get("org") is None
            and isinstance(given := values.get("namespace"), str)
        ):
            with suppress(ValueError):  # the field's own validator reports it
                if (org := links.gvc(given).org) and CplnSettings.load().org is None:
                    return values | {"org": org}
        return values

    if TYPE_CHECKING:

        @classmethod
        def load(
            cls, name: str, validate: bool = True, client: PrefectClient | None = None
        ) -> Self:
            """Load a saved block; Prefect's own type does not declare what a sync caller gets."""

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore what was pickled."""
        super().__setstate__(state)
        self.credentials.is_part_of(self._block_document_id)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Return what a log or an error may show, with possible secrets of the manifest masked."""
        arguments = super().__repr_args__()
        return [
            (name, masking.shown(value) if name == "v1_job" else value) for name, value in arguments
        ]

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
        """Create a job from a file.

        Args:
            manifest_path: File with the manifest, in YAML or JSON.
            kwargs: Other fields of the block.

        Raises:
            ManifestError: The file is not a manifest that can be run on the platform; each fault
                has its line and column.
        """
        path = Path(manifest_path)
        with path.open("rb") as file:
            # A device or the wrong file may have no end.
            content = file.read(yaml_text.MOST_BYTES + 1)
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
            ManifestError: The manifest cannot be run on the platform, or, with ``strict``,
                something in it has no effect.
        """
        found = conversion.convert(
            self.v1_job, gvc=self.namespace, default_image=get_prefect_image_name()
        )
        if found.job_type == "cron":
            left_out = (
                f"its schedule {found.schedule!r} is left out: this copy runs once, and the"
                " workload is suspended"
            )
            found = replace(
                found,
                job_type="standard",
                notes=(*found.notes, Fault("spec.job.schedule", left_out)),
            )
        if self.strict and found.notes:
            raise ManifestError(found.notes)
        return found

    @sync_compatible
    async def trigger(self) -> CplnJobRun:  # type: ignore[override]  # typed for async callers only
        """Start the job; await it in async code, call it plainly in sync code.

        Returns:
            The run, on which to wait.

        Raises:
            ManifestError: The manifest cannot be run on the platform.
            JobTimeoutError: The workload did not become ready.
            SubmissionUnknownError: It is unknown whether the job was started.
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
                f"log_containers: the manifest has no container {', '.join(map(repr, unknown))};"
                f" it has {', '.join(names)}"
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
    """The manifest of a workload, with the notes of the conversion.

    Attributes:
        notes: What has no effect, and what was filled in.
    """

    def __init__(self, workload: Mapping[str, Any], notes: Sequence[Fault]) -> None:
        super().__init__(workload)
        self.notes: tuple[str, ...] = tuple(map(str, notes))
