"""The platform's answers as types: ignore unknown fields, give missing ones their defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from cpln_flows.errors import UnexpectedResponseError
from cpln_flows.model import links
from cpln_flows.model.lifecycle import Stage, is_terminal
from cpln_flows.model.links import WorkloadRef

_SECRET = re.compile(r"cpln://secret/([-a-z0-9]{1,64})")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _scalars_as_text(value: object) -> object:
    """Turn tag values into strings: to the platform, ``true`` and ``"true"`` are the same tag."""
    if not isinstance(value, Mapping) or all(type(item) is str for item in value.values()):
        return value
    return {
        key: str(item).lower() if isinstance(item, bool) else str(item)
        for key, item in value.items()
    }


def _none_as_empty(value: object) -> object:
    return {} if value is None else value


def _none_as_no_items(value: object) -> object:
    return [] if value is None else value


Tags = Annotated[dict[str, str], BeforeValidator(_scalars_as_text), BeforeValidator(_none_as_empty)]


_ACTIVE = frozenset({"active", "pending"})


def _in_utc(value: datetime) -> datetime:
    """Give a time without a zone UTC, as the platform means it: only aware times are comparable."""
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class Resource(BaseModel):
    """Base of all answers: frozen, camelCase on the wire, tolerant of unknown fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    @classmethod
    def parse(cls, answer: object, *, source: str) -> Self:
        """Parse an answer of the platform.

        Args:
            answer: The decoded JSON.
            source: What was requested, for the error message.

        Raises:
            UnexpectedResponseError: The answer does not have the documented form.
        """
        try:
            return cls.model_validate(answer)
        except ValidationError as error:
            where = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'the answer'}: {e['msg']}"
                for e in error.errors()[:3]
            )
            # Not chained on purpose: pydantic's error carries the whole input.
            raise UnexpectedResponseError(
                f"{source}: the answer does not have the documented form ({where})"
            ) from None


class Link(Resource):
    """One link of an object."""

    rel: str = ""
    href: str = ""


class Named(Resource):
    """The fields that every object of the platform has."""

    name: str
    version: int = 0
    created: Moment = datetime.min.replace(tzinfo=UTC)
    last_modified: Moment | None = None
    description: str | None = None
    tags: Tags = Field(default_factory=dict)
    links: Annotated[list[Link], BeforeValidator(_none_as_no_items)] = Field(default_factory=list)

    @property
    def link(self) -> str:
        """The object's own link."""
        return next((link.href for link in self.links if link.rel == "self"), "")


class StaticPlacement(Resource):
    """The locations of a GVC by name; a GVC that is placed by a query has none."""

    location_links: Annotated[list[str], BeforeValidator(_none_as_no_items)] = Field(
        default_factory=list
    )


class GvcSpec(Resource):
    """The specification of a GVC."""

    static_placement: Annotated[StaticPlacement, BeforeValidator(_none_as_empty)] = (
        StaticPlacement()
    )


class Gvc(Resource):
    """A global virtual cloud."""

    spec: Annotated[GvcSpec, BeforeValidator(_none_as_empty)] = GvcSpec()


class Workload(Named):
    """A workload, on which jobs run."""

    # Not in the repr, because variables and arguments may be secrets.
    spec: dict[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def ref(self) -> WorkloadRef:
        """The reference to this workload.

        Raises:
            ConfigurationError: The platform sent no link to it.
        """
        return WorkloadRef.parse(self.link)

    @property
    def identity(self) -> str | None:
        """Link to its identity."""
        found = self.spec.get("identityLink")
        return found if isinstance(found, str) else None

    @property
    def main_container(self) -> str | None:
        """Name of the first container, whose end is the end of a job."""
        containers = self.spec.get("containers")
        main = containers[0] if isinstance(containers, list) and containers else None
        name = main.get("name") if isinstance(main, dict) else None
        return name if isinstance(name, str) else None

    @property
    def restarts(self) -> bool:
        """Whether the platform restarts a failed container."""
        job = self.spec.get("job")
        return isinstance(job, dict) and job.get("restartPolicy") == "OnFailure"

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the secrets that its specification refers to anywhere."""
        return frozenset(_SECRET.findall("\n".join(_texts(self.spec))))


class Identity(Named):
    """An identity, through which a workload is granted its permissions."""


class Secret(Named):
    """A secret, without its data."""

    type: str = ""


_REVEALING = frozenset({"reveal", "edit", "manage"})
"""The permissions on a secret that include revealing it (control-plane-api.md, F118)."""


class Binding(Resource):
    """The permissions that a policy grants to principals."""

    permissions: list[str] = Field(default_factory=list)
    principal_links: list[str] = Field(default_factory=list)


class PlatformPolicy(Named):
    """A policy of the platform."""

    target_kind: str = ""
    target: str | None = None
    target_query: dict[str, Any] | None = None
    target_links: Annotated[list[str], BeforeValidator(_none_as_no_items)] = Field(
        default_factory=list
    )
    bindings: Annotated[list[Binding], BeforeValidator(_none_as_no_items)] = Field(
        default_factory=list
    )

    @property
    def principals(self) -> frozenset[str]:
        """Links of all principals that are granted something."""
        return frozenset(link for binding in self.bindings for link in binding.principal_links)

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the secrets on which permissions are granted."""
        return (
            frozenset(map(links.last_segment, self.target_links))
            if self.target_kind == "secret"
            else frozenset()
        )

    def lets_reveal(self, principal: str, org: str) -> bool:
        """Whether the policy lets a principal reveal some secrets.

        Args:
            principal: The full link of an identity.
            org: The organization, which links may omit.
        """
        return self.target_kind == "secret" and any(
            not _REVEALING.isdisjoint(binding.permissions)
            and any(links.absolute(link, org) == principal for link in binding.principal_links)
            for binding in self.bindings
        )


class CommandSpec(Resource):
    """The specification of a command."""

    location: str | None = None
    replica: str | None = None


class CommandStatus(Resource):
    """The status of a command; ``replica`` is set once a container exists."""

    replica: str | None = None
    messages: Annotated[list[Any], BeforeValidator(_none_as_no_items)] = Field(default_factory=list)


class Command(Resource):
    """A command of a workload; one of type ``runCronWorkload`` is a job."""

    id: str
    type: str = ""
    lifecycle_stage: str = Stage.PENDING
    created: Moment = datetime.min.replace(tzinfo=UTC)
    last_modified: Moment | None = None
    tags: Tags = Field(default_factory=dict)
    spec: Annotated[CommandSpec, BeforeValidator(_none_as_empty)] = CommandSpec()
    status: Annotated[CommandStatus, BeforeValidator(_none_as_empty)] = CommandStatus()

    @property
    def is_terminal(self) -> bool:
        """Whether the job is over."""
        return is_terminal(self.lifecycle_stage)

    @property
    def ended_ns(self) -> int | None:
        """When the platform recorded the end, in nanoseconds since the epoch, if it did."""
        if not self.is_terminal or self.last_modified is None:
            return None
        return int(self.last_modified.timestamp() * 1_000_000) * 1000


class Restarts(Resource):
    """How a container last ended."""

    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None


class JobContainer(Resource):
    """One container of a job execution."""

    name: str = ""
    ready: bool = False
    message: str | None = None
    restarts: Annotated[Restarts, BeforeValidator(_none_as_empty)] = Restarts()

    @property
    def has_ended(self) -> bool:
        """Whether the container has an exit code and is not running again."""
        return self.restarts.exit_code is not None and not self.ready


class Condition(Resource):
    """One condition of a job execution, as Kubernetes reports it."""

    type: str = ""
    status: Any = None
    reason: str | None = None
    message: str | None = None


class JobExecution(Resource):
    """One execution of a cron workload at one location.

    The execution of an on-demand run is named ``command-<command id>``.
    """

    name: str = ""
    status: str = ""
    replica: str | None = None
    start_time: Moment | None = None
    completion_time: Moment | None = None
    conditions: Annotated[list[Condition], BeforeValidator(_none_as_no_items)] = Field(
        default_factory=list
    )
    containers: Annotated[dict[str, JobContainer], BeforeValidator(_none_as_empty)] = Field(
        default_factory=dict
    )

    @property
    def is_active(self) -> bool:
        """Whether it is running, or is about to."""
        return self.status in _ACTIVE

    def is_of(self, command_id: str) -> bool:
        """Whether it is the execution of this job."""
        # The second is the older form.
        return self.name in (f"command-{command_id}", f"run-for-command-{command_id}")


class DeploymentVersion(Resource):
    """One version of a workload at one location."""

    workload: int | None = None
    ready: bool | None = None
    message: str | None = None


class DeploymentStatus(Resource):
    """State of a workload at one location."""

    ready: bool = False
    deploying: bool = False
    message: str | None = None
    last_processed_version: int | None = None
    expected_deployment_version: int | None = None
    versions: Annotated[list[DeploymentVersion], BeforeValidator(_none_as_no_items)] = Field(
        default_factory=list
    )
    job_executions: Annotated[list[JobExecution], BeforeValidator(_none_as_no_items)] = Field(
        default_factory=list
    )


class WorkloadDeployment(Resource):
    """A workload at one location; the name is the location's."""

    name: str
    status: Annotated[DeploymentStatus, BeforeValidator(_none_as_empty)] = DeploymentStatus()

    @property
    def runs_jobs(self) -> bool:
        """Whether a job that starts now would run, and on the newest version.

        If the platform reports no versions, its readiness alone decides.
        """
        processed, expected = (
            self.status.last_processed_version,
            self.status.expected_deployment_version,
        )
        return self.status.ready and (
            processed is None or expected is None or processed >= expected
        )

    def execution_of(self, command_id: str) -> JobExecution | None:
        """Return the execution of one job, if it is still listed."""
        return next(
            (execution for execution in self.status.job_executions if execution.is_of(command_id)),
            None,
        )

    @property
    def last_run(self) -> datetime | None:
        """When one of the listed executions last began or ended."""
        moments = [
            moment
            for execution in self.status.job_executions
            for moment in (execution.start_time, execution.completion_time)
            if moment
        ]
        return max(moments, default=None)

    def report(self) -> str:
        """Return the messages of the deployment, each once."""
        said = [self.status.message, *(version.message for version in self.status.versions)]
        return "; ".join(dict.fromkeys(filter(None, said))) or "it reports nothing"
