import pytest
from tenacity import Future, RetryCallState

from cpln_flows.api.retry import Repeat, may_repeat, retrying, wait_seconds
from cpln_flows.errors import (
    AnswerTooLargeError,
    ApiError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TransportError,
    UnauthorizedError,
    UnexpectedResponseError,
)


def _api(
    kind: type[ApiError],
    status: int,
    message: str = "",
    method: str = "GET",
    retry_after: float | None = None,
) -> ApiError:
    return kind(status=status, method=method, path="/x", message=message, retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "always", "when_refused"),
    [
        pytest.param(_api(ServerError, 503), True, False, id="5xx-may-have-had-an-effect"),
        pytest.param(
            TransportError("reset"), True, False, id="a-lost-answer-may-have-had-an-effect"
        ),
        pytest.param(
            TransportError("refused", sent=False), True, True, id="what-was-not-sent-had-no-effect"
        ),
        pytest.param(
            UnexpectedResponseError("cut"),
            True,
            False,
            id="an-unreadable-answer-may-have-had-an-effect",
        ),
        pytest.param(
            AnswerTooLargeError("GET /x", "32 MiB"), False, False, id="what-is-too-large-stays-so"
        ),
        pytest.param(
            _api(RateLimitedError, 429, "slow down"), True, True, id="a-rate-limit-passes"
        ),
        pytest.param(
            _api(RateLimitedError, 429, "quota exceeded"), False, False, id="a-quota-does-not-pass"
        ),
        pytest.param(
            _api(ConflictError, 409, method="DELETE"),
            True,
            True,
            id="a-busy-object-is-deleted-later",
        ),
        pytest.param(
            _api(ConflictError, 409, method="POST"), False, False, id="an-existing-object-stays-one"
        ),
        pytest.param(_api(UnauthorizedError, 401), False, False, id="401"),
        pytest.param(_api(ForbiddenError, 403), False, False, id="403"),
        pytest.param(_api(NotFoundError, 404), False, False, id="404"),
        pytest.param(_api(ApiError, 400), False, False, id="400"),
        pytest.param(_api(ApiError, 425), True, True, id="425-was-not-looked-at"),
        pytest.param(ValueError("bug"), False, False, id="a-bug-is-not-repeated"),
    ],
)
def test_what_may_be_sent_again(error, *, always, when_refused) -> None:
    assert may_repeat(error, Repeat.ALWAYS) is always
    assert may_repeat(error, Repeat.WHEN_REFUSED) is when_refused
    assert may_repeat(error, Repeat.NEVER) is False


def _state(error: BaseException, attempt: int = 1) -> RetryCallState:
    state = RetryCallState(retrying(Repeat.ALWAYS, budget_seconds=1, sleep=None), None, (), {})
    state.attempt_number = attempt
    state.outcome = Future(attempt)
    state.outcome.set_exception(error)
    return state


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(0.0, 0.1, 0.2), (7.0, 7.0, 8.0), (3600.0, 60.0, 60.0)]
)
def test_the_platform_says_how_long_to_wait_up_to_a_minute(asked, least, most) -> None:
    waits = [
        wait_seconds(_state(_api(RateLimitedError, 429, retry_after=asked))) for _ in range(50)
    ]
    assert least <= min(waits) <= max(waits) <= most


def test_jobs_that_are_told_the_same_time_do_not_come_back_at_once() -> None:
    assert (
        len({wait_seconds(_state(_api(RateLimitedError, 429, retry_after=7.0))) for _ in range(50)})
        > 40
    )


def test_waits_grow_with_jitter_and_have_an_end() -> None:
    first = [wait_seconds(_state(TransportError("x"))) for _ in range(50)]
    late = [wait_seconds(_state(TransportError("x"), attempt=30)) for _ in range(50)]
    assert 0 < min(first) <= max(first) < 0.5
    assert len(set(late)) > 1
    assert max(late) < 10
