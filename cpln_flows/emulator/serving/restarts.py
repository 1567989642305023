"""When a container that has ended is started again. Pure."""

from __future__ import annotations

_LONGEST_SECONDS = 300.0
_DOUBLINGS = 20
# A container that ran for this long has recovered, as a kubelet counts it.
RECOVERED_SECONDS = 600.0


def delay_seconds(restarts: int, first_seconds: float) -> float:
    """Return the time until a container is started again.

    Args:
        restarts: How often it was started again before, since it last ran for long.
        first_seconds: The first delay that is not zero; each further one is twice as long.

    Example:
        >>> [delay_seconds(restarts, 10.0) for restarts in range(5)]
        [0.0, 10.0, 20.0, 40.0, 80.0]
    """
    if restarts == 0:
        return 0.0
    return float(min(first_seconds * 2 ** min(restarts - 1, _DOUBLINGS), _LONGEST_SECONDS))
