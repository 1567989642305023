"""Configure a local platform: names, delays, and the questions that the documentation leaves open.

Nothing here acts; every other module reads it. Where the platform's behavior is not known, the
field names both possibilities, and the default is the one that is harder on a client.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_AT_LEAST_ONE = (
    "connection_limit", "history_limit", "page_size", "query_span_days", "range_limit_default",
    "range_limit_max", "request_limit", "tail_frame_entries", "workload_name_limit",
)  # fmt: skip
_AT_MOST = 10**9


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """The behavior of one local platform.

    The defaults are those of the local mode: quick, and strict where that costs nothing.

    Attributes:
        org: The organization of this platform; it exists from the start.
        gvc: The GVC that exists from the start, placed in every location.
        locations: The locations of the organization, by name (``<provider>-<region>``).
        provider: The provider of every location; ``None`` takes the first part of the location's
            name.
        token: The platform's own token, which local mode hands out. It alone grants access to the
            control routes. It belongs to a superuser, unless ``tokens`` names another principal for
            it. ``None`` generates a random token. Set it only in tests: whoever knows it may start
            processes on this machine.
        tokens: Further tokens, each with the link of its principal (a service account, a user, a
            group or an identity); permissions are then enforced. With ``None``, none are enforced:
            every token that the platform has issued is a superuser's.
        hosts: Names, besides those of loopback, by which clients may address the platform
            (``Host``), with a port if it is not the one that the platform listens on.
        seed: Makes replica names and random faults repeatable; ``None`` leaves them random.
        body_limit_bytes: Maximum size of a request body.
        connection_limit: Maximum number of simultaneous connections, including tails.
        read_timeout_seconds: Time that a client has to send the head of a request, and again for
            its body.
        write_timeout_seconds: Time for which a client may leave a response, or the lines of a tail,
            unread.
        request_limit: Requests of one token per second; a further one is answered with 429 and
            ``Retry-After``. ``None`` means no limit.
        workload_quota: Workloads that the organization may have; a further one is answered with 429
            and ``quota`` in the message. ``None`` means no limit.
        page_size: Items on one page of a list or a query.
        latency_seconds: Added to every request, in real time.
        ready_delay_seconds: Time from a change of a workload until its deployments have processed
            it.
        deployment_list_delay_seconds: Time for which a new workload's list of deployments stays
            empty.
        start_delay_seconds: Time from a command's creation until its replica exists.
        stop_grace_seconds: Time between SIGTERM and the kill of the whole tree, unless the workload
            sets it (``rolloutOptions.terminationGracePeriodSeconds``; the platform's own default is
            90).
        delete_delay_seconds: Time for which a deleted object stays readable.
        delete_status: Status of the response to a DELETE that is accepted.
        delete_again_status: Status of the response to a second DELETE while the first is in
            progress.
        command_visible_delay_seconds: Time for which lists and queries do not show a new command;
            reading it by id works.
        command_retention_seconds: Time for which a finished command can be read; ``None`` keeps it.
            The platform's own value is unknown; a client must not rely on more than a few minutes.
        history_limit: Finished executions that a deployment shows, unless the workload sets it.
        restart_limit: Restarts of a failing container under ``restartPolicy: OnFailure``.
        restart_delay_seconds: Delay before the first of these restarts; doubled with each further
            restart. A container of a serving workload is started again at once the first time.
        websocket_timeout: Whether ``timeoutSeconds`` of a workload also ends its WebSockets.
        final_stage_after_stop: Stage of a stopped run's command.
        stage_while_stopping: Stage of that command between the stop and its end.
        stop_without_replica: Whether ``stopReplica`` without a replica is refused or stops all
            replicas of the location.
        deadline_status: Status of an execution that exceeded its deadline.
        env_override: Whether the variables of an override are merged by name or replace the
            workload's.
        override_command: Whether an override without ``command`` and ``args`` keeps the workload's,
            or leaves the container with the command of its image.
        put_tags: Whether a PUT replaces all tags of an object or keeps those that it does not name.
        suspended_ready: Whether the deployments of a suspended workload become ready.
        location_form: Whether ``CPLN_LOCATION`` and ``CPLN_WORKLOAD`` are links or bare names.
        job_suspend: What happens to the undocumented ``job.suspend``; ``defaultOptions.suspend`` is
            what counts.
        missing_identity: Whether a workload may name an identity that does not exist.
        post_body: Body of a 201: the string ``Created``, or the new object.
        version_conflict_status: Status of the response to a PATCH with an outdated ``version`` or
            another ``id``.
        hidden_status: Status of the response for an object that the token may not view.
        workload_name_limit: Maximum length of a workload's name.
        range_limit_default: Lines returned by a range query without ``limit``.
        range_limit_max: Largest ``limit``; a larger one is answered with 400.
        query_span_days: Longest span of a range query.
        log_query_timeout_seconds: Time after which a range query is ended, by latency and a fault's
            delay.
        log_retention_days: Age at which lines expire; 0 keeps none.
        log_delay_seconds: Time from a line's time stamp until the logs service knows it.
        log_rate_limit: Lines of one container kept per second; ``None`` keeps all.
        tail_limit: Maximum number of simultaneous tails. A further one is accepted and closed
            immediately, as Loki does beyond ``max_concurrent_tail_requests``. ``None`` means no
            limit.
        tail_session_seconds: Duration of a tail before the service ends it.
        tail_frame_entries: Lines in one frame of a tail.
        tail_buffer_entries: Lines buffered for a slow reader of a tail before further ones are
            dropped.
    """

    org: str = "local"
    gvc: str = "quickstart"
    locations: tuple[str, ...] = ("local-1",)
    provider: str | None = None
    token: str | None = dataclasses.field(default=None, repr=False)
    tokens: Mapping[str, str] | None = dataclasses.field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    seed: int | None = None

    body_limit_bytes: int = 4 * 2**20
    connection_limit: int = 512
    read_timeout_seconds: float = 15.0
    write_timeout_seconds: float = 60.0

    request_limit: int | None = None
    workload_quota: int | None = None

    page_size: int = 100
    latency_seconds: float = 0.0

    ready_delay_seconds: float = 0.0
    deployment_list_delay_seconds: float = 0.0
    start_delay_seconds: float = 0.0
    stop_grace_seconds: float = 10.0
    delete_delay_seconds: float = 0.1
    delete_status: Literal[200, 202, 204] = 202
    delete_again_status: Literal[404, 409] = 409
    command_visible_delay_seconds: float = 0.0
    command_retention_seconds: float | None = 600.0
    history_limit: int = 5
    restart_limit: int = 6
    restart_delay_seconds: float = 10.0
    websocket_timeout: bool = True

    final_stage_after_stop: Literal["failed", "cancelled"] = "failed"
    stage_while_stopping: Literal["running", "cancellation-requested"] = "cancellation-requested"
    stop_without_replica: Literal["refuse", "all"] = "refuse"
    deadline_status: Literal["failed", "removed"] = "failed"
    env_override: Literal["merge", "replace"] = "merge"
    override_command: Literal["keep", "drop"] = "keep"
    put_tags: Literal["replace", "merge"] = "replace"
    suspended_ready: bool = True
    location_form: Literal["link", "name"] = "link"
    job_suspend: Literal["refuse", "ignore"] = "refuse"
    missing_identity: Literal["refuse", "accept"] = "refuse"
    post_body: Literal["text", "json"] = "text"
    version_conflict_status: Literal[400, 409, 412] = 409
    hidden_status: Literal[403, 404] = 403
    workload_name_limit: int = 49

    range_limit_default: int = 100
    range_limit_max: int = 5000
    query_span_days: int = 31
    log_query_timeout_seconds: float = 120.0
    log_retention_days: int = 30
    log_delay_seconds: float = 0.0
    log_rate_limit: int | None = 10_000
    tail_limit: int | None = None
    tail_session_seconds: float = 1800.0
    tail_frame_entries: int = 100
    tail_buffer_entries: int = 10_000

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing would work."""
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            least = 1 if each.name in _AT_LEAST_ONE else 0
            if (
                each.name != "seed"
                and isinstance(value, int | float)
                and not least <= value <= _AT_MOST
            ):
                raise ValueError(
                    f"{each.name} must be at least {least} and at most {_AT_MOST}, not {value}"
                )

    def provider_of(self, location: str) -> str:
        """Return the provider of a location."""
        return self.provider or location.partition("-")[0]
