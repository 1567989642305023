"""Every setting, with its bounds; the only module that reads the environment."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from cpln_flows.errors import ConfigurationError
from cpln_flows.model import addresses, field_errors, links
from cpln_flows.model.levels import LEVELS
from cpln_flows.model.policy import Policy
from cpln_flows.model.proxies import Proxies

DEFAULT_ENDPOINT = "https://api.cpln.io"
DEFAULT_LOGS_ENDPOINT = "wss://logs.cpln.io"
CONSOLE = "https://console.cpln.io"

T = TypeVar("T")

_PREFIX = "PREFECT_INTEGRATIONS_CPLN_"
_TOKEN = re.compile(r"[!-~]+")  # what a header can carry


def console_url(path: str) -> str:
    """Return the address at which the platform's console shows the object of this path."""
    return f"{CONSOLE}/console{path}"


def _names(name: str, *more: str) -> AliasChoices:
    # Prefect's own form comes first: inside a workload the platform injects CPLN_* and refuses to
    # let users set them.
    return AliasChoices(f"{_PREFIX}{name}", f"CPLN_{name}", *more)


def process_environment(*, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the environment for a child process.

    Args:
        without: Prefixes of variables that the child should not see.
    """
    return (
        {name: value for name, value in os.environ.items() if not name.startswith(without)}
        if without
        else dict(os.environ)
    )


def is_public(endpoint: str) -> bool:
    """Whether this is the vendor's own platform.

    Its workloads reach it without TLS, through their sidecar; that counts, too.

    >>> is_public("http://api.cpln.io/"), is_public("https://api.cpln.io.acme.com")
    (True, False)
    """
    return urlsplit(endpoint).hostname == urlsplit(DEFAULT_ENDPOINT).hostname


def proxies() -> Proxies:
    """Return the proxies that the environment names, or else those of the system's settings."""
    return Proxies.of(getproxies())


def _endpoint(url: str) -> str:
    if addresses.has_credentials(url):
        # They would appear in logs and errors, and nothing here sends them.
        raise ValueError(
            "it contains a user or a password, which are not used; give the address without them,"
            " and the token by itself"
        )
    if not addresses.is_endpoint(url):
        raise ValueError(
            f"expected a URL such as {DEFAULT_ENDPOINT}, with its scheme and without a query"
        )
    return url


def _variable(name: str) -> str:
    """Return the short form of a variable's name."""
    return name.replace(_PREFIX, "CPLN_")


def _given(values: dict[str, Any], field: FieldInfo, name: str) -> tuple[str, str | None]:
    """Return the key under which a field was given, and its value if that is a string.

    The key is the argument or one of the field's variables.
    """
    choices = (
        field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else []
    )
    key = next((key for key in (name, *map(str, choices)) if values.get(key) is not None), name)
    value = values.get(key)
    return key, value if isinstance(value, str) else None


def _named(key: str, read: Callable[[], T]) -> T:
    """Read a name or link; an error names its variable."""
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"{_variable(key)}: {error}") from None


class ApiSettings(BaseModel):
    """How to reach the platform: what a client needs and nothing else."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, hide_input_in_errors=True)

    token: SecretStr
    endpoint: str = DEFAULT_ENDPOINT
    logs_endpoint: str | None = None
    request_timeout_seconds: float = 30
    retry_seconds: float = 30

    def __getstate__(self) -> dict[Any, Any]:
        """Refuse to be pickled.

        Without the token this is of no use, and with it the token would end up in a store.
        """
        raise TypeError(
            "ApiSettings hold a token and are not pickled; pickle the block they came from"
        )

    @field_validator("endpoint", "logs_endpoint")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return _endpoint(value).rstrip("/") if value else value


class CplnSettings(BaseSettings):
    """Settings from the environment; every field is also read as ``PREFECT_INTEGRATIONS_CPLN_*``.

    >>> CplnSettings(location="/org/acme/location/aws-eu-central-1").location
    'aws-eu-central-1'
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    token: SecretStr | None = Field(
        default=None,
        validation_alias=_names("TOKEN"),
        description="Service-account key, or the token of the workload.",
    )
    org: str | None = Field(
        default=None, validation_alias=_names("ORG"), description="Organization."
    )
    gvc: str | None = Field(
        default=None, validation_alias=_names("GVC"), description="Global virtual cloud."
    )
    location: str | None = Field(
        default=None,
        validation_alias=_names("LOCATION"),
        description="Location, as a name or as a link.",
    )
    workload: str | None = Field(
        default=None,
        validation_alias=_names("WORKLOAD"),
        description="Link of the workload that this process runs in; the platform sets it.",
    )
    endpoint: str = Field(
        default=DEFAULT_ENDPOINT, validation_alias=_names("ENDPOINT"), description="URL of the API."
    )
    logs_endpoint: str | None = Field(
        default=None,
        validation_alias=_names("LOGS_ENDPOINT"),
        description="URL of the logs service. Default: what the API's /discovery returns.",
    )
    monitor_interval_seconds: float = Field(
        default=60,
        gt=0,
        validation_alias=_names("MONITOR_INTERVAL", "PREFECT_AGENT_CPLN_MONITOR_INTERVAL"),
        description="Seconds between two cycles of the sync flows.",
    )
    request_timeout_seconds: float = Field(
        default=30,
        gt=0,
        validation_alias=_names("REQUEST_TIMEOUT"),
        description="Seconds to wait for one answer.",
    )
    retry_seconds: float = Field(
        default=30,
        ge=0,
        validation_alias=_names("RETRY_SECONDS"),
        description=(
            "Seconds for which a request is repeated when the platform fails and repeating it is"
            " safe."
        ),
    )
    ready_timeout_seconds: float = Field(
        default=300,
        gt=0,
        validation_alias=_names("READY_TIMEOUT"),
        description="Seconds to wait for a workload to become ready at its location.",
    )
    stop_grace_seconds: float = Field(
        default=15,
        gt=0,
        validation_alias=_names("STOP_GRACE"),
        description=(
            "Seconds that a job may take to end after a stop, before that is reported and"
            " escalated."
        ),
    )
    lost_after_seconds: float = Field(
        default=180,
        ge=0,
        validation_alias=_names("LOST_AFTER_SECONDS"),
        description=(
            "Seconds for which nothing may show a job, no command, execution or log line, before it"
            " counts as lost."
        ),
    )
    lost_access_seconds: float = Field(
        default=600,
        ge=0,
        validation_alias=_names("LOST_ACCESS_SECONDS"),
        description=(
            "Seconds for which the platform may refuse the token (401, 403) before a job is no"
            " longer followed."
        ),
    )
    cancel_grace_seconds: float = Field(
        default=60,
        ge=0,
        validation_alias=_names("CANCEL_GRACE"),
        description=(
            "Seconds that a running flow gets to cancel itself before its container is stopped, by"
            " the worker or by the sync flows, whichever sees it first."
        ),
    )
    final_grace_seconds: float = Field(
        default=120,
        ge=0,
        validation_alias=_names("FINAL_GRACE"),
        description=(
            "Seconds that a container gets after its flow run's final state, because hooks and"
            " uploads run then; the sync option stop_grace_seconds overrides it."
        ),
    )
    report_grace_seconds: float = Field(
        default=30,
        ge=0,
        validation_alias=_names("REPORT_GRACE"),
        description=(
            "Seconds that a flow run gets to report its own end after its container has succeeded;"
            " the sync option completed_grace_seconds overrides it."
        ),
    )
    failed_as: Literal["CRASHED", "FAILED"] = Field(
        default="CRASHED",
        validation_alias=_names("FAILED_AS"),
        description=(
            "The state of a flow run whose container has failed, for the worker and the sync flows"
            " alike."
        ),
    )
    submission_limit_seconds: float = Field(
        default=900,
        ge=0,
        validation_alias=_names("SUBMISSION_LIMIT"),
        description=(
            "Seconds that a flow run may be pending without any command before the sync flows mark"
            " it Crashed."
        ),
    )
    escalate_after_seconds: float = Field(
        default=300,
        ge=0,
        validation_alias=_names("ESCALATE_AFTER"),
        description=(
            "Seconds that a job may take to end after the sync flows have stopped it, before they"
            " report that and stop it again."
        ),
    )
    misses: int = Field(
        default=5,
        ge=1,
        validation_alias=_names("MISSES"),
        description=(
            "How many cycles of the sync flows in a row must find no job (404) before it counts as"
            " lost."
        ),
    )
    flow_run_poll_seconds: float = Field(
        default=5,
        gt=0,
        validation_alias=_names("FLOW_RUN_POLL"),
        description="Seconds between two polls of a worker for the states of its flow runs.",
    )
    store_prefect_api_in_secret: bool | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "PREFECT_INTEGRATIONS_CPLN_STORE_PREFECT_API_IN_SECRET",
            "PREFECT_CPLN_WORKER_STORE_PREFECT_API_IN_SECRET",
        ),
        description=(
            "Whether jobs get what opens Prefect's API, such as its key, from a secret of the"
            " platform instead of in clear text. Default: yes where the worker's token may create"
            " secrets, identities and policies."
        ),
    )
    sidecar_grace_seconds: float = Field(
        default=10,
        ge=0,
        validation_alias=_names("SIDECAR_GRACE"),
        description="Seconds that sidecars get after the main container has ended.",
    )
    waiting_report_seconds: float = Field(
        default=15,
        gt=0,
        validation_alias=_names("WAITING_REPORT"),
        description=(
            "Seconds without any log line after which a report names what a job is waiting for,"
            " and seconds between such reports."
        ),
    )
    query_settle_seconds: float = Field(
        default=5,
        ge=0,
        validation_alias=_names("QUERY_SETTLE"),
        description="Seconds after which a new command shows up in the platform's queries.",
    )
    log_settle_seconds: float = Field(
        default=5,
        ge=0,
        validation_alias=_names("LOG_SETTLE"),
        description=(
            "Seconds to wait for late lines of a job that has ended. A moment is enough once a line"
            " from the last 0.3 s before its end was seen; a job that falls silent before it ends"
            " waits the whole time, because nothing distinguishes its silence from lines that are"
            " on their way. A lower value makes such jobs end sooner, and may lose lines that come"
            " later."
        ),
    )
    log_drain_seconds: float = Field(
        default=60,
        ge=0,
        validation_alias=_names("LOG_DRAIN"),
        description=(
            "Seconds for which the log of an ended job is read again while further lines arrive."
        ),
    )
    log_idle_seconds: float = Field(
        default=30,
        gt=0,
        validation_alias=_names("LOG_IDLE"),
        description=(
            "Seconds of silence after which the stored log is checked for lines that the live log"
            " held back."
        ),
    )
    log_rotate_seconds: float = Field(
        default=1500,
        gt=0,
        validation_alias=_names("LOG_ROTATE"),
        description=(
            "Seconds after which a connection to the live log is replaced; the platform closes it"
            " after 1800."
        ),
    )
    log_poll_seconds: float = Field(
        default=5,
        gt=0,
        le=60,
        validation_alias=_names("LOG_POLL"),
        description=(
            "Longest time between two reads of the stored log while a job has no live log, in"
            " seconds."
        ),
    )
    log_progress_seconds: float = Field(
        default=60,
        gt=0,
        validation_alias=_names("LOG_PROGRESS"),
        description=(
            "Seconds until the first report of how far a job's log has come; further reports come"
            " less and less often."
        ),
    )
    max_log_characters: int = Field(
        default=64_000_000,
        ge=0,
        validation_alias=_names("MAX_LOG_CHARACTERS"),
        description=(
            "Approximate limit of the log that a job returns, in characters; beyond it the middle"
            " is left out. 0: no limit."
        ),
    )
    log_forward_records: int = Field(
        default=10_000,
        ge=0,
        validation_alias=_names("LOG_FORWARD_RECORDS"),
        description="Maximum number of records that one job's log adds to Prefect's logs.",
    )
    log_forward_burst: int = Field(
        default=1_000,
        ge=1,
        validation_alias=_names("LOG_FORWARD_BURST"),
        description="Maximum number of such records at once.",
    )
    log_forward_per_second: float = Field(
        default=100,
        ge=0,
        validation_alias=_names("LOG_FORWARD_PER_SECOND"),
        description="Such records per second in the long run.",
    )
    log_forward_characters: int = Field(
        default=20_000,
        ge=100,
        validation_alias=_names("LOG_FORWARD_CHARACTERS"),
        description="Maximum length of such a record, in characters; a longer line is split.",
    )
    log_levels: dict[str, str] = Field(
        default_factory=lambda: dict(LEVELS),
        validation_alias=_names("LOG_LEVELS"),
        description=(
            "Regular expressions and the level of the lines in which they are found; JSON in the"
            " environment."
        ),
    )

    def policy(self) -> Policy:
        """Return the thresholds by which flow runs and their jobs are judged."""
        return Policy(
            completed_grace=timedelta(seconds=self.report_grace_seconds),
            cancel_grace=timedelta(seconds=self.cancel_grace_seconds),
            stop_grace=timedelta(seconds=self.final_grace_seconds),
            submission_limit=timedelta(seconds=self.submission_limit_seconds),
            escalate_after=timedelta(seconds=self.escalate_after_seconds),
            misses=self.misses,
            interval=timedelta(seconds=self.monitor_interval_seconds),
            failed_as=self.failed_as,
        )

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle without the token."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "token": None}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore what was pickled, with the token of this process."""
        super().__setstate__(
            {**state, "__dict__": {**state["__dict__"], "token": environments_token()}}
        )

    @field_validator("location")
    @classmethod
    def _location_name(cls, value: str | None) -> str | None:
        return links.location(value) if value else None

    @model_validator(mode="before")
    @classmethod
    def _names(cls, values: Any) -> Any:
        """Replace the links of organization and GVC by their names.

        They must agree, and the link of a GVC may name the organization.
        """
        org_key, org = _given(values, cls.model_fields["org"], "org")
        gvc_key, gvc = _given(values, cls.model_fields["gvc"], "gvc")
        found: dict[str, Any] = {}
        if org:
            found[org_key] = _named(org_key, lambda: links.organization(org))
        if gvc:
            named = _named(gvc_key, lambda: links.gvc_of(found.get(org_key), gvc))
            found |= {gvc_key: named.name} | ({org_key: named.org} if named.org else {})
        return values | found

    @field_validator("log_levels")
    @classmethod
    def _known_levels(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern, level in value.items():
            if level not in logging.getLevelNamesMapping():
                raise ValueError(f"{level!r} is not a level; expected one such as WARNING")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return value

    @field_validator("endpoint", "logs_endpoint")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return _endpoint(value) if value else value

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Read the environment; given values take precedence.

        Raises:
            ConfigurationError: A value is out of its bounds; the message names the setting.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            wrong = field_errors.configuration_error("wrong setting", error, rename=_variable)
            raise ConfigurationError(f"{wrong}; correct or unset it") from None

    def api(self, token: SecretStr | None = None) -> ApiSettings:
        """Return what a client needs.

        Args:
            token: Takes precedence over the environment's token.

        Raises:
            ConfigurationError: There is no token, or it cannot be one.
        """
        given = self.token if token is None else token
        # A file that holds a token ends with a line break.
        found = given.get_secret_value().strip() if given else ""
        if not found:
            raise ConfigurationError(
                "token: none given and CPLN_TOKEN is not set; create a service account key and put"
                " it into the token field of the Control Plane Configuration block, or into"
                " CPLN_TOKEN"
            )
        if set(found) == {"*"}:
            raise ConfigurationError(
                "token: it is a row of asterisks, as Prefect shows a secret: a block that is given"
                " as a parameter of a deployment arrives without its token; save the block and give"
                ' {"$ref": {"block_document_slug": "cpln-job/NAME"}} instead'
            )
        if not _TOKEN.fullmatch(found):
            raise ConfigurationError(
                "token: it contains blanks, line breaks or non-ASCII characters, which no token"
                " does; copy the service account key once more into the token field of the Control"
                " Plane Configuration block, or into CPLN_TOKEN"
            )
        return ApiSettings(
            token=SecretStr(found),
            endpoint=self.endpoint,
            logs_endpoint=self.logs_endpoint,
            request_timeout_seconds=self.request_timeout_seconds,
            retry_seconds=self.retry_seconds,
        )


def environments_token() -> SecretStr | None:
    """Return the token of the environment, if there is one.

    Whatever else is wrong there is reported to whoever needs it.
    """
    try:
        return CplnSettings.load().token
    except ConfigurationError:
        return None
