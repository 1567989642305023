"""What a local platform is like: names, delays and the answers to questions the documentation leaves open.

Nothing here acts; every other module reads it. Where the platform's behaviour is not known, the field names both
answers and the default is the one that is harder on a client.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_AT_LEAST_ONE = (
    "connection_limit", "history_limit", "page_size", "query_span_days", "range_limit_default", "range_limit_max",
    "tail_frame_entries", "workload_name_limit",
)  # fmt: skip
_AT_MOST = 10**9


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """How one local platform behaves; the defaults are those of the local mode: quick, and strict where that is free.

    Attributes:
        org: The one organisation; it exists from the start.
        gvc: The GVC that exists from the start, placed in every location.
        locations: The locations of the organisation, by name (``<provider>-<region>``).
        provider: The provider of every location; ``None`` takes the first part of the location's name.
        token: The platform's own token, which local mode hands out and which alone opens the control routes; ``None`` makes a
            random one. It belongs to a superuser, unless ``tokens`` names another principal for it. Give one only in tests:
            whoever knows it may start processes on this machine.
        tokens: Further tokens, each with the link of its principal (a service account, a user, a group or an identity);
            permissions are then enforced. ``None`` enforces none: every token that the platform has issued is a superuser's.
        hosts: Names, besides those of loopback, by which clients may address the platform (``Host``), with a port where it is
            not the one that the platform listens on.
        seed: Makes replica names and the chances of faults repeatable; ``None`` leaves them to chance.
        body_limit_bytes: Longest body of a request.
        connection_limit: Most connections at once, tails among them.
        read_timeout_seconds: How long a client may take to send the head of a request, and again for its body.
        write_timeout_seconds: How long a client may leave an answer, or the lines of a tail, unread.
        page_size: Items on one page of a list or a query.
        latency_seconds: Added to every request, in real time.
        ready_delay_seconds: From a change of a workload until its deployments have processed it.
        deployment_list_delay_seconds: How long the list of deployments of a new workload stays empty.
        start_delay_seconds: From a command's creation until its replica exists.
        stop_grace_seconds: Between SIGTERM and the kill of the whole tree, where the workload does not say
            (``rolloutOptions.terminationGracePeriodSeconds``; the platform's own default is 90).
        delete_delay_seconds: How long a deleted object stays readable.
        delete_status: Answer to a DELETE that is accepted.
        delete_again_status: Answer to a second DELETE while the first is under way.
        command_visible_delay_seconds: How long lists and queries do not show a new command; reading it by id works.
        command_retention_seconds: How long a finished command can be read; ``None`` keeps it. Nobody knows the platform's
            answer; a client must not count on more than some minutes.
        history_limit: Finished executions a deployment shows, where the workload does not say.
        restart_limit: Restarts of a failing container under ``restartPolicy: OnFailure``.
        restart_delay_seconds: Before the first of these restarts; doubled with each further one.
        final_stage_after_stop: Stage of a stopped run's command.
        stage_while_stopping: Stage of that command between the stop and its end.
        stop_without_replica: Whether ``stopReplica`` without a replica is refused or stops all of the location's.
        deadline_status: Status of an execution that ran into its deadline.
        env_override: Whether the variables of an override are merged by name or replace the workload's.
        override_command: Whether an override without ``command`` and ``args`` keeps the workload's, or leaves the container
            with what its image runs.
        put_tags: Whether a PUT replaces all tags of an object, or keeps those that it does not name.
        suspended_ready: Whether the deployments of a suspended workload become ready.
        location_form: Whether ``CPLN_LOCATION`` and ``CPLN_WORKLOAD`` are links or bare names.
        job_suspend: What happens to the undocumented ``job.suspend``; ``defaultOptions.suspend`` is what counts.
        missing_identity: Whether a workload may name an identity that does not exist.
        post_body: Body of a 201: the text ``Created``, or the new object.
        version_conflict_status: Answer to a PATCH with an outdated ``version`` or another ``id``.
        hidden_status: Answer for an object that the token may not see.
        workload_name_limit: Longest name of a workload.
        range_limit_default: Lines of a range query that names no ``limit``.
        range_limit_max: Largest ``limit``; above it the answer is 400.
        query_span_days: Longest span of a range query.
        log_retention_days: Age at which lines are gone; 0 keeps none.
        log_delay_seconds: From a line's time stamp until the logs service knows it.
        log_rate_limit: Lines a second of one container that are kept; ``None`` keeps all.
        tail_limit: Live logs at a time; a further one is accepted and closed at once, as Loki does beyond
            ``max_concurrent_tail_requests``. ``None`` is no limit.
        tail_session_seconds: Length of a tail before the service ends it.
        tail_frame_entries: Lines in one frame of a tail.
        tail_buffer_entries: Lines that wait for a slow reader of a tail before further ones are dropped.
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
    log_retention_days: int = 30
    log_delay_seconds: float = 0.0
    log_rate_limit: int | None = 10_000
    tail_limit: int | None = None
    tail_session_seconds: float = 1800.0
    tail_frame_entries: int = 100
    tail_buffer_entries: int = 10_000

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing works."""
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
        """Name the provider of a location."""
        return self.provider or location.partition("-")[0]
