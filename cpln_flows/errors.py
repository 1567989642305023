"""Every error of the library, in one tree; raising and mapping them happens elsewhere.

::

    CplnError
    ├── ConfigurationError          a setting, a block field or an argument is missing or wrong
    ├── ManifestError               a job manifest cannot be run; carries every fault with its path
    ├── ApiError                    the platform answered with an error status
    │   ├── UnauthorizedError       401: the token is missing, wrong or expired
    │   ├── ForbiddenError          403: the token lacks a permission
    │   ├── NotFoundError           404
    │   ├── ConflictError           409, and 400 with "already exists"
    │   ├── RateLimitedError        429, with ``retry_after`` and ``is_quota``
    │   └── ServerError             5xx
    ├── TransportError              no answer arrived: unreachable, reset, timed out
    ├── UnexpectedResponseError     an answer arrived that cannot be read
    │   └── AnswerTooLargeError     it is larger than this client accepts
    ├── LogStreamError              the logs of a job cannot be read
    ├── LimitExceededError          a maintenance flow would exceed its limit of changes
    ├── ImageError                  an image could not be built or pushed
    └── JobError                    one job; carries its infrastructure pid
        ├── SubmissionUnknownError  unknown whether the job was started
        ├── JobFailedError          the job ended with a failure
        ├── JobCancelledError       the job was stopped
        ├── JobTimeoutError         the job or its workload took longer than allowed
        ├── JobLostError            nothing shows the job any longer
        └── JobAccessLostError      the token is refused; the job may still be running

Every message states what was tried, what came back and what to do. Its ``summary`` is one line
without the advice, for places that are printed more than once, such as the message of a state. No
error holds a request, a client, a header or a token: Prefect pickles an exception that escapes a
flow into its result storage, together with everything that it refers to.

Four of them are also exceptions of ``requests``: prefect-cpln's are, and programs that were
written for it catch them that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from requests.exceptions import HTTPError, RequestException

_SAYS_NOTHING = frozenset({"Error", "BackoffLimitExceeded"})
"""Reasons that every failed container has."""


class CplnError(Exception):
    """Root of every error that this library raises on purpose.

    Attributes:
        reported: Whether the log of a run already has the whole message, so that nobody needs to
            print it again.
    """

    reported: bool = False

    @property
    def summary(self) -> str:
        """What happened, on one line and without the advice."""
        first, *_ = str(self).splitlines() or [""]
        return first.split("; ", 1)[0]

    @property
    def report(self) -> str:
        """The whole message as a log takes it: a query for the line's prefix finds the cause."""
        return str(self)

    def brief(self) -> Self:
        """Return the same error with only its summary, as the log has the whole message."""
        kept = {name: value for name, value in self.__dict__.items() if name != "__notes__"}
        return _restore(type(self), (self.summary,), kept)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes: subclasses take keyword arguments that ``Exception`` would lose."""
        return (_restore, (type(self), self.args, self.__dict__.copy()))


_Error = TypeVar("_Error", bound=CplnError)


def _restore(cls: type[_Error], args: tuple[Any, ...], attributes: dict[str, Any]) -> _Error:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(CplnError):
    """A setting, a block field or an argument is missing or wrong."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a manifest: where, and what to do about it.

    ``place`` is ``FILE:LINE:COLUMN`` if it is known.
    """

    path: str
    message: str
    place: str = ""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.place, self.path) if part)
        return f"{where}: {self.message}" if where else self.message


class ManifestError(CplnError, RequestException):
    """A job manifest cannot be run on the platform.

    ``faults`` names every field that is wrong, not only the first.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"the job manifest cannot be run on Control Plane:{lines}")

    @property
    def summary(self) -> str:
        """The first fault, and how many more there are."""
        more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
        first = self.faults[0] if self.faults else "it is wrong"
        return f"the job manifest cannot be run on Control Plane: {first}{more}"

    @property
    def report(self) -> str:
        """Every fault, on one line."""
        return (
            f"the job manifest cannot be run on Control Plane: {'; '.join(map(str, self.faults))}"
        )


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
        super().__init__(f"{self._what}; {hint}" if hint else self._what)

    @property
    def _what(self) -> str:
        return f"{self.method} {self.path}: {self.status} {self.message}".rstrip()

    @property
    def summary(self) -> str:
        """The request, and the platform's answer."""
        return " ".join(self._what.split())


class UnauthorizedError(ApiError):
    """401: the token is missing, wrong or expired."""


class ForbiddenError(ApiError):
    """403: the token lacks a permission."""


class NotFoundError(ApiError, HTTPError):
    """404: there is no such object."""


class ConflictError(ApiError):
    """The object exists already, or is busy."""


class RateLimitedError(ApiError):
    """429: too many requests, or a quota is used up (``is_quota``), where waiting does not help."""

    @property
    def is_quota(self) -> bool:
        """Whether the limit is a quota. The vendor's own clients look for this word, too."""
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


class AnswerTooLargeError(UnexpectedResponseError):
    """An answer is larger than this client accepts; another request would bring it again."""

    def __init__(self, source: str, limit: str) -> None:
        self.limit = limit
        super().__init__(
            f"{source}: the answer has more than {limit}, the limit of this client; the rest was"
            " not read"
        )


class LogStreamError(CplnError):
    """The logs of a job cannot be read."""


class LimitExceededError(CplnError):
    """A maintenance flow would have exceeded its limit of changes, and made none of them."""


class ImageError(CplnError):
    """An image could not be built or pushed: the command ended with ``exit_code``."""

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class JobError(CplnError):
    """Something is wrong with one job.

    ``infrastructure_pid`` names it (``org:gvc:workload:command_id``).
    """

    def __init__(self, message: str, *, infrastructure_pid: str | None = None) -> None:
        super().__init__(message)
        self.infrastructure_pid = infrastructure_pid


class SubmissionUnknownError(JobError):
    """It is unknown whether the job was started."""


class JobFailedError(JobError, RequestException, RuntimeError):
    """The job ended with a failure.

    It is also a ``RuntimeError``, as code written for prefect-cpln expects.
    """

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
        self.last_lines: tuple[str, ...] = tuple(last_lines)

    @property
    def summary(self) -> str:
        """Which job failed, with its exit code, and the reason if that adds anything."""
        known = [] if self.reason is None or self.reason in _SAYS_NOTHING else [self.reason]
        known += [] if self.exit_code is None else [f"exit {self.exit_code}"]
        return (
            f"job {self.infrastructure_pid} failed ({', '.join(known)})"
            if self.infrastructure_pid and known
            else super().summary
        )


class JobCancelledError(JobError, RuntimeError):
    """The job was stopped before it ended by itself."""


class JobTimeoutError(JobError, RequestException, TimeoutError):
    """The job, or the preparation of its workload, took longer than allowed."""


class JobLostError(JobError):
    """Nothing shows the job any longer: no command, no execution, no line of its log."""


class JobAccessLostError(JobError):
    """The platform refuses the token, so the job cannot be followed; it may still be running."""
