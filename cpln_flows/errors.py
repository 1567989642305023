"""Every error of the library, in one tree; raising and mapping them happens elsewhere.

::

    CplnError
    ├── ConfigurationError          a setting, a block field or an argument is missing or wrong
    ├── ManifestError               a job manifest cannot be run on the platform; carries every fault with its path
    ├── ApiError                    the platform answered with an error status
    │   ├── UnauthorizedError       401: the token is missing, wrong or expired
    │   ├── ForbiddenError          403: the token lacks a permission
    │   ├── NotFoundError           404
    │   ├── ConflictError           409, and 400 that says "already exists"
    │   ├── RateLimitedError        429, with ``retry_after`` and ``is_quota``
    │   └── ServerError             5xx
    ├── TransportError              no answer arrived: unreachable, reset, timed out
    ├── UnexpectedResponseError     an answer arrived that cannot be read
    ├── LogStreamError              the logs of a job cannot be read
    ├── LimitExceededError          a maintenance flow would have changed more than it may, and did not
    └── JobError                    one job; carries its infrastructure pid
        ├── SubmissionUnknownError  it cannot be told whether the job was started
        ├── JobFailedError          the job ended with a failure
        ├── JobCancelledError       the job was stopped
        ├── JobTimeoutError         the job or its workload took longer than allowed
        └── JobLostError            the job is no longer known to the platform

Every message says what was tried, what came back and what to do. No error holds a request, a client, a header or a
token: Prefect pickles an exception that escapes a flow into its result storage, with what hangs on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class CplnError(Exception):
    """Root of every error that this library raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes: subclasses take keyword arguments that ``Exception`` would lose."""
        return (_restore, (type(self), self.args, self.__dict__.copy()))


def _restore(cls: type[CplnError], args: tuple[Any, ...], attributes: dict[str, Any]) -> CplnError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(CplnError):
    """A setting, a block field or an argument is missing or wrong."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a manifest: where, and what to do about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ManifestError(CplnError):
    """A job manifest cannot be run on the platform; ``faults`` names every field that is wrong, not only the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"the job manifest cannot be run on Control Plane:{lines}")


class ApiError(CplnError):
    """The platform answered with an error status."""

    def __init__(
        self,
        *,
        status: int,
        method: str,
        path: str,
        message: str,
        hint: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.method = method
        self.path = path
        self.message = message
        self.retry_after = retry_after
        super().__init__(f"{method} {path}: {status} {message}".rstrip() + (f"; {hint}" if hint else ""))


class UnauthorizedError(ApiError):
    """401: the token is missing, wrong or expired."""


class ForbiddenError(ApiError):
    """403: the token lacks a permission."""


class NotFoundError(ApiError):
    """404: there is no such object."""


class ConflictError(ApiError):
    """The object exists already, or is busy."""


class RateLimitedError(ApiError):
    """429: too many requests, or a quota is used up (``is_quota``, for which waiting does not help)."""

    @property
    def is_quota(self) -> bool:
        """Whether the limit is a quota. The vendor's own clients tell the two apart by this word."""
        return "quota" in self.message.lower()


class ServerError(ApiError):
    """5xx: the platform failed; the request may or may not have taken effect."""


class TransportError(CplnError):
    """No answer arrived: unreachable, reset or timed out.

    ``sent`` is false only when the request surely never reached the platform.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class UnexpectedResponseError(CplnError):
    """An answer arrived that cannot be read: cut short, not JSON, or not of the documented form."""


class LogStreamError(CplnError):
    """The logs of a job cannot be read."""


class LimitExceededError(CplnError):
    """A maintenance flow would have changed more than it may, and changed nothing of it."""


class JobError(CplnError):
    """Something is wrong with one job; ``infrastructure_pid`` names it (``org:gvc:workload:command_id``)."""

    def __init__(self, message: str, *, infrastructure_pid: str | None = None) -> None:
        super().__init__(message)
        self.infrastructure_pid = infrastructure_pid


class SubmissionUnknownError(JobError):
    """It cannot be told whether the job was started."""


class JobFailedError(JobError, RuntimeError):
    """The job ended with a failure. A ``RuntimeError`` too, as code written for prefect-cpln expects."""

    def __init__(
        self,
        message: str,
        *,
        infrastructure_pid: str | None = None,
        exit_code: int | None = None,
        reason: str | None = None,
        last_lines: Sequence[str] = (),
    ) -> None:
        super().__init__(message, infrastructure_pid=infrastructure_pid)
        self.exit_code = exit_code
        self.reason = reason
        self.last_lines = tuple(last_lines)


class JobCancelledError(JobError, RuntimeError):
    """The job was stopped before it ended by itself."""


class JobTimeoutError(JobError, TimeoutError):
    """The job, or getting its workload ready, took longer than allowed."""


class JobLostError(JobError):
    """The platform does not know the job any more."""
