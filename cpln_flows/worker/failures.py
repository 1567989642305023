"""How a worker logs that a flow run got no job.

It does so once, with the prefix that users filter by, and without a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.logging.loggers import PrefectLogAdapter

from cpln_flows.errors import CplnError, SubmissionUnknownError
from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area, LogContext

_NO_JOB = "Failed to submit"


class FlowRunLogger(PrefectLogAdapter):
    """A flow run's logger that omits the traceback of an error that this library raised.

    Prefect's base worker logs whatever prevents the submission of a run, including errors that
    occur before ``run`` is called.
    """

    def exception(self, msg: object, *args: object, exc_info: Any = True, **kwargs: Any) -> None:
        """Log a message, preceded by an error of this library unless that was logged before."""
        error = sys.exc_info()[1]
        if not isinstance(error, CplnError):
            super().exception(msg, *args, exc_info=exc_info, **kwargs)
            return
        if not error.reported:
            journal = Journal(self, LogContext(run_id=UUID(str((self.extra or {})["flow_run_id"]))))
            if str(msg).startswith(_NO_JOB):
                report_no_job(journal, error)
            else:
                journal.report(error)
        self.error(msg, *args, **kwargs)

    @classmethod
    def of(cls, logger: PrefectLogAdapter) -> FlowRunLogger:
        """Return the same logger with this behavior."""
        return cls(logger.logger, logger.extra)


@contextmanager
def reporting(journal: Journal) -> Iterator[None]:
    """Log an error of this library that makes the start of a job fail."""
    try:
        yield
    except CplnError as error:
        journal.report(error, about_start=not isinstance(error, SubmissionUnknownError))
        raise


@contextmanager
def preparing(journal: Journal) -> Iterator[None]:
    """Log an error of this library that occurs before the start of a job."""
    try:
        yield
    except CplnError as error:
        report_no_job(journal, error)
        raise


def report_no_job(journal: Journal, error: CplnError) -> None:
    """Log why no attempt to start a job is made."""
    journal.info(Area.JOB, "Creating Control Plane job...")
    journal.report(error, about_start=True)
