"""Short keys of what was reported, so that each thing is reported once."""

from __future__ import annotations

import hashlib
from enum import StrEnum


class ReportKey(StrEnum):
    """What kind of thing was reported, as the first letter of its key."""

    LOOK = "l"
    """Somebody should look at a run or a job."""
    STOPPED = "s"
    """A job that was sent a stop has ended."""
    ESCALATED = "e"
    """A job that was sent a stop does not end; once for each escalation."""
    UNDONE = "u"
    """An action was not done, or failed, for the same reason as before."""
    UNREAD = "n"
    """Something could not be read."""
    SKEW = "k"
    """A server's clock differs from this machine's."""

    def of(self, *about: object) -> str:
        """Return the key of one report.

        >>> len(ReportKey.UNREAD.of("/org/acme"))
        8
        >>> ReportKey.UNREAD.of("x") == ReportKey.SKEW.of("x")
        False
        """
        return f"{self}{hashlib.sha256(repr(about).encode()).hexdigest()[:7]}"
