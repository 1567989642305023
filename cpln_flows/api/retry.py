"""Decide whether and when a failed request is repeated. Pure, except that tenacity waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum, auto

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_random,
    wait_random_exponential,
)

from cpln_flows.errors import (
    AnswerTooLargeError,
    ApiError,
    ConflictError,
    RateLimitedError,
    ServerError,
    TransportError,
    UnexpectedResponseError,
)

RETRY_AFTER_CAP_SECONDS = 60.0
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 8.0
_JITTER = 0.25


class Repeat(Enum):
    """When a request may be sent again."""

    ALWAYS = auto()
    """Sending it twice is the same as sending it once."""
    WHEN_REFUSED = auto()
    """Only if it certainly had no effect: what it starts must not be started twice."""
    NEVER = auto()
    """Never here: the caller retries by itself."""


def may_repeat(error: BaseException, repeat: Repeat) -> bool:
    """Whether a request that failed with this error may be sent again.

    A 5xx, a reset, a timeout or an unreadable answer reveals nothing about the effect. A 429, or a
    connection that was never made, means that there was none. A 429 about a quota does not pass by
    waiting. The vendor's clients repeat a DELETE that met 409, because the object is busy. A
    creation that met 409 is not repeated, because the object exists. What is too large now will be
    too large the next time.
    """
    if repeat is Repeat.NEVER or isinstance(error, AnswerTooLargeError):
        return False
    match error:
        case RateLimitedError():
            return not error.is_quota
        case ConflictError(status=409, method="DELETE"):
            return True
        case TransportError(sent=False) | ApiError(status=425):
            return True  # 425, Too Early: the server has not processed the request
        case TransportError() | ServerError() | UnexpectedResponseError():
            return repeat is Repeat.ALWAYS
        case _:
            return False


def wait_seconds(state: RetryCallState) -> float:
    """Return how long to wait before the next attempt.

    That is what the platform asks for, at most a minute, or else exponentially longer times; both
    with jitter. Many jobs are given the same time at once, and should not all return at that time.
    Without any wait, they would flood the platform.
    """
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ApiError) and error.retry_after is not None:
        asked = max(error.retry_after, _FIRST_WAIT_SECONDS)
        return min(asked + wait_random(0, min(1, _JITTER * asked))(state), RETRY_AFTER_CAP_SECONDS)
    backoff = wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS * 2, max=_LONGEST_WAIT_SECONDS)
    return _FIRST_WAIT_SECONDS + backoff(state)


def retrying(
    repeat: Repeat, *, budget_seconds: float, sleep: Callable[[float], Awaitable[None]]
) -> AsyncRetrying:
    """Return tenacity's loop for one request.

    Args:
        repeat: When the request may be sent again.
        budget_seconds: No further attempt begins once this time has passed since the first one.
        sleep: How to wait.
    """
    return AsyncRetrying(
        sleep=sleep,
        stop=stop_after_delay(budget_seconds),
        wait=wait_seconds,
        retry=retry_if_exception(lambda error: may_repeat(error, repeat)),
        reraise=True,
    )
