"""Which of the worker's own Prefect settings travel into a container, and which stay. Pure."""

from __future__ import annotations

from collections.abc import Mapping

SIGTERM_BEHAVIOR = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
RELINQUISH = "relinquish"
API_URL = "PREFECT_API_URL"
SECRET_VARIABLES = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")

# What belongs to the machine or to the process of the worker: another machine has other folders, and no server runs in a job.
_STAYS = frozenset({"PREFECT_HOME", "PREFECT_PROFILES_PATH"})
_STAYS_PREFIXES = (
    "PREFECT_SERVER_",
    "PREFECT_API_DATABASE_",
    "PREFECT_WORKER_",
    "PREFECT_CLI_",
    "PREFECT_TESTING_",
    "PREFECT_UI_",
)


def travelling(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a worker that its flow runs shall have too.

    >>> travelling({"PREFECT_API_URL": "http://prefect/api", "PREFECT_HOME": "/root/.prefect"})
    {'PREFECT_API_URL': 'http://prefect/api'}
    """
    return {name: value for name, value in settings.items() if name not in _STAYS and not name.startswith(_STAYS_PREFIXES)}
