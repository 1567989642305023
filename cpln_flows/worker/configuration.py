"""The configuration of one flow run's job, made of the pool's template and the run's values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, Self
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.utilities.dockerutils import get_prefect_image_name
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorkerResult
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, ValidationError

from cpln_flows.blocks.credentials import CplnConfig
from cpln_flows.errors import ConfigurationError
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.manifest import images, limits
from cpln_flows.model import field_errors, links
from cpln_flows.model.identifiers import Role
from cpln_flows.model.links import GvcRef
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import ApiSettings, CplnSettings, process_environment
from cpln_flows.worker import environment, template
from cpln_flows.worker.block_secrets import Marks, misplaced
from cpln_flows.worker.template import RunValues

_WHERE = "correct it in the deployment's job variables, or in the pool's base job template"
_PREFECT_MAJOR = 3
_MOST_LABELS = limits.TAGS - 10  # this library adds up to nine tags to a command


class CplnWorkerJobConfiguration(BaseJobConfiguration):
    """The configuration of one flow run's job.

    Attributes:
        config: How to authenticate. Default: ``CPLN_TOKEN`` of the worker.
        org: Organization, as a name or a link. Default: ``CPLN_ORG`` of the worker.
        namespace: GVC, as a name or a link. Default: ``CPLN_GVC`` of the worker.
        location: Location, as a name or a link. Default: ``CPLN_LOCATION`` of the worker, or else
            the first location of the GVC.
        job_manifest: Kubernetes Job or native cron workload from which a run's job is made.
        job_watch_timeout_seconds: How long a job may take. After that it is stopped and the run
            crashes. Default: no limit.
        pod_watch_timeout_seconds: How long the workload may take to become ready, and the platform
            to fetch the image.
        stream_output: Whether the job's output goes to the flow run's logs.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    config: CplnConfig | None = Field(default=None)
    org: str | None = Field(default=None)
    namespace: str | None = Field(default=None)
    location: str | None = Field(default=None)
    image: str | None = Field(default=None)
    job_manifest: dict[str, Any] = Field(
        default_factory=template.default_manifest,
        json_schema_extra={"template": template.default_manifest()},
    )
    job_watch_timeout_seconds: int | None = Field(default=None)
    pod_watch_timeout_seconds: int | None = Field(default=None)
    stream_output: bool = Field(default=True)

    _flow_name: str | None = PrivateAttr(default=None)
    _given_name: str | None = PrivateAttr(default=None)
    _chosen: frozenset[str] = PrivateAttr(default=frozenset())
    _secrets: Mapping[str, SecretStr] = PrivateAttr(default_factory=dict)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Yield what a log or an error may show; variables, arguments and labels may be secrets."""
        hidden = ("env", "labels", "command", "job_manifest")
        yield from ((name, value) for name, value in super().__repr_args__() if name not in hidden)

    @classmethod
    async def from_template_and_values(
        cls,
        base_job_template: dict[str, Any],
        values: dict[str, Any],
        client: PrefectClient | None = None,
    ) -> Self:
        """Make a configuration from a pool's template; refuse variables that the pool lacks."""
        template.check_variables(base_job_template, values)
        async with nullcontext(client) if client is not None else get_client() as known:
            marks = Marks(known)
            values, base_job_template = (
                await marks.placed(values),
                await marks.placed(base_job_template),
            )
        defaults = {"command": cls._base_flow_run_command(), "image": get_prefect_image_name()}
        values = template.without_blanks(values)
        base_job_template = template.with_defaults(
            base_job_template, values, defaults, process_environment()
        )
        try:
            made: Self = await super().from_template_and_values(
                base_job_template, values, client=client
            )
        except ValidationError as error:
            wrong = field_errors.configuration_error("job variables", error, known=cls.model_fields)
            raise ConfigurationError(f"{wrong}; {_WHERE}") from None
        made._secrets = marks.secrets
        if places := misplaced(
            {name: getattr(made, name) for name in cls.model_fields if name != "config"}
        ):
            raise ConfigurationError(
                f"{', '.join(places)}: a secret can only be the value of an environment variable;"
                " put it into env and let the program read it there"
            )
        return made

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        return environment.travelling(super()._base_environment())

    def prepare_for_flow_run(  # noqa: PLR0917 - Prefect's signature
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: Flow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Fill in what belongs to one flow run; the parameters are those of Prefect."""
        is_named = self.name is not None
        self._chosen = frozenset(self.env)
        super().prepare_for_flow_run(flow_run, deployment, flow, work_pool, worker_name, worker_id)
        self._flow_name = flow.name if flow is not None else None
        self._given_name = self.name if is_named else template.given_name(self.job_manifest)
        # When it is stopped, the engine ends cleanly and leaves the state to whoever requested the
        # stop. The other behaviors that Prefect offers either kill the engine unasked or schedule
        # the run again, and with it a second job.
        self.env.setdefault(environment.SIGTERM_BEHAVIOR, environment.RELINQUISH)

    def add_base_environment(self) -> None:
        """Add the worker's own Prefect settings that each job gets, as for a flow run."""
        self.env = {**self._base_environment(), **self.env}

    @property
    def flow_name(self) -> str | None:
        """The name of the flow, once the configuration is prepared for a run."""
        return self._flow_name

    def api_settings(self, settings: CplnSettings) -> ApiSettings:
        """Return the settings for calls to the platform.

        Raises:
            ConfigurationError: There is no token.
        """
        return self.config.api_settings(settings) if self.config else settings.api()

    def gvc(self, settings: CplnSettings) -> GvcRef:
        """Return the GVC in which the job is to run.

        Raises:
            ConfigurationError: The organization or the GVC is missing; the error names where to
                set it.
        """
        try:
            org = links.organization(self.org) if self.org else settings.org
            found = links.gvc_of(org, self.namespace) if self.namespace else None
        except ValueError as error:
            raise ConfigurationError(f"org and namespace: {error}; {_WHERE}") from None
        org, gvc = (found.org, found.name) if found else (org, settings.gvc)
        return GvcRef(_given("org", org), _given("namespace", gvc))

    def wanted_location(self, settings: CplnSettings) -> str | None:
        """Return the requested location, if there is one.

        Raises:
            ConfigurationError: The location is neither a name nor a link.
        """
        try:
            return links.location(self.location) if self.location else settings.location
        except ValueError as error:
            raise ConfigurationError(f"location: {error}; {_WHERE}") from None

    def plan(self, identity: JobIdentity, gvc: GvcRef, location: str) -> JobPlan:
        """Return the job of the flow run that this configuration is prepared for.

        Args:
            identity: The identity of the job.
            gvc: The GVC in which it runs.
            location: The location of the GVC at which it runs.

        Raises:
            ManifestError: The pool's manifest cannot run on the platform.
        """
        values = RunValues(
            command=_unless_blank(self.command) or self._base_flow_run_command(),
            env=self.variables,
            image=_unless_blank(self.image) or get_prefect_image_name(),
            yielding=frozenset(self._base_environment()) - self._chosen,
            late={"name": self.name or "", "namespace": gvc.gvc, "org": gvc.org},
        )
        manifest = template.convert(self.job_manifest, values, gvc=gvc.gvc)
        _check_image(manifest.main.image)
        return JobPlan(
            gvc=gvc,
            location=location,
            manifest=manifest,
            submission=identity.submission,
            owner=identity.owner,
            role=Role.CONTAINER,
            private=False,
            shared_name=self._given_name,
            labels=self._labels(),
        )

    def _labels(self) -> dict[str, str]:
        if len(self.labels) > _MOST_LABELS:
            raise ConfigurationError(
                f"labels: there are {len(self.labels)} including Prefect's own, and a job takes at"
                f" most {_MOST_LABELS}; remove some"
            )
        return self.labels

    @property
    def secrets(self) -> Mapping[str, SecretStr]:
        """The secrets among the values of the run, by the marks that replace them in variables."""
        return self._secrets

    @property
    def variables(self) -> dict[str, str]:
        """The container's environment variables."""
        return {name: value for name, value in self.env.items() if value is not None}


def _unless_blank(text: str | None) -> str | None:
    return text if text and text.strip() else None


def _check_image(image: str) -> None:
    """Refuse an image in which the flow run cannot start.

    Prefect 2 does not understand what a Prefect 3 server requests of it.

    Raises:
        ConfigurationError: It is Prefect's own image, of an older major version.
    """
    major = images.prefect_major(image)
    if major is not None and major < _PREFECT_MAJOR:
        raise ConfigurationError(
            f"image: {image!r} has Prefect {major}, in which a flow run of this Prefect 3 server"
            " cannot start; set `image` in the pool's base job template or in the deployment's job"
            f" variables, for example to {get_prefect_image_name()}"
        )


def _given(name: str, value: str | None) -> str:
    if value and value.strip():
        return value
    variable = {"org": "CPLN_ORG", "namespace": "CPLN_GVC"}[name]
    raise ConfigurationError(
        f"{name}: the work pool gives none and {variable} of the worker is not set; set `{name}` in"
        " the pool's base job template or in the deployment's job variables, or start the worker"
        f" with {variable}"
    )


class CplnWorkerVariables(BaseVariables):
    """What a pool, a deployment and a flow run can set."""

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    config: CplnConfig | None = Field(
        default=None,
        description=(
            "Configuration with the token. Default: the environment variable CPLN_TOKEN of the"
            " worker."
        ),
    )
    org: str | None = Field(
        default=None,
        description="Organization, as a name or a link. Default: CPLN_ORG of the worker.",
    )
    namespace: str | None = Field(
        default=None,
        description=(
            "Global virtual cloud (GVC), as a name or a link. Default: CPLN_GVC of the worker."
        ),
    )
    location: str | None = Field(
        default=None,
        description=(
            "Location, as a name or a link. Default: CPLN_LOCATION of the worker, or else the first"
            " location of the GVC."
        ),
    )
    image: str | None = Field(
        default=None,
        description=(
            "Image of the container, such as //image/NAME:TAG or python:3.12-slim. Default:"
            " Prefect's own image."
        ),
        examples=["//image/flows:1.0"],
    )
    service_account_name: str | None = Field(
        default=None,
        title="Identity",
        description="Identity that the job runs as, by name or link. Default: none.",
    )
    cpu: str | None = Field(
        default="250m", title="CPU", description="CPU of the container, such as 500m."
    )
    memory: str | None = Field(
        default="512Mi", description="Memory of the container, such as 512Mi."
    )
    finished_job_ttl: int | None = Field(
        default=None,
        title="Finished Job TTL",
        description=(
            "Has no effect: the platform keeps the history of a workload, and the clean-up flow"
            " deletes idle workloads."
        ),
    )
    job_watch_timeout_seconds: int | None = Field(
        default=None,
        gt=0,
        description=(
            "Seconds that a job may take. After that it is stopped and the flow run crashes."
            " Default: no limit."
        ),
    )
    pod_watch_timeout_seconds: int | None = Field(
        default=None,
        gt=0,
        description=(
            "Seconds that a workload may take to become ready, and that an image that cannot be"
            " fetched may take to appear."
        ),
    )
    stream_output: bool = Field(
        default=True, description="Whether the job's output goes to the flow run's logs."
    )


class CplnWorkerResult(BaseWorkerResult):
    """How a flow run's job ended: its infrastructure pid and its main container's exit code."""
