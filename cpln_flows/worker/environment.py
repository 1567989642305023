"""Which of the worker's own Prefect settings go to its jobs, and which hold a credential."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from prefect.settings import Settings
from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo

SIGTERM_BEHAVIOR = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
RELINQUISH = "relinquish"
API_URL = "PREFECT_API_URL"

# What belongs to the machine or to the process of the worker: another machine has other folders,
# and no server runs in a job.
_STAYS = frozenset({"PREFECT_HOME", "PREFECT_PROFILES_PATH"})
_STAYS_PREFIXES = (
    "PREFECT_SERVER_",
    "PREFECT_API_DATABASE_",
    "PREFECT_WORKER_",
    "PREFECT_CLI_",
    "PREFECT_TESTING_",
    "PREFECT_UI_",
)
_PREFECT = "PREFECT_"
_USER = re.compile(r"://[^/?#\s\"']*@")
# Settings that are plain strings for Prefect, although they hold a credential.
_TELLING = re.compile(
    r"(?:^|_)(?:(?:custom|extra|request)_headers|password|passphrase|token|secret|credentials?"
    r"|connection_url|auth_string|api_key)(?:_|$)"
)


def travelling(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a worker that its flow runs are to have too.

    >>> travelling({"PREFECT_API_URL": "http://prefect/api", "PREFECT_HOME": "/root/.prefect"})
    {'PREFECT_API_URL': 'http://prefect/api'}
    """
    return {
        name: value
        for name, value in settings.items()
        if name not in _STAYS and not name.startswith(_STAYS_PREFIXES)
    }


def holds_credential(name: str, value: str) -> bool:
    """Whether a variable of Prefect holds a credential.

    It does if the type or the name of its setting indicates that, or if its value is a URL with a
    user.

    >>> holds_credential("PREFECT_CLIENT_CUSTOM_HEADERS", "{}")
    True
    >>> holds_credential("PREFECT_API_URL", "http://me:pass@prefect/api")
    True
    >>> holds_credential("PREFECT_API_URL", "http://prefect/api"), holds_credential("MY_TOKEN", "x")
    (False, False)
    """
    return name in SECRET_VARIABLES or (
        name.startswith(_PREFECT) and _USER.search(value) is not None
    )


def _secret_variables(model: type[BaseModel]) -> Iterator[str]:
    prefix = str(model.model_config.get("env_prefix", ""))
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _secret_variables(field.annotation)
        elif _is_secret(name, field):
            yield f"{prefix}{name}".upper()
            alias = field.validation_alias
            choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
            yield from (choice.upper() for choice in choices if isinstance(choice, str))


def _is_secret(name: str, field: FieldInfo) -> bool:
    kinds = set(_kinds(field.annotation))
    return SecretStr in kinds or (str in kinds and _TELLING.search(name) is not None)


def _kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


SECRET_VARIABLES = frozenset(_secret_variables(Settings))
"""The variables of all settings that hold a credential, under each of their names."""
