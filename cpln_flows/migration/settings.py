"""Find settings of Prefect 2 with another name, or no meaning, in Prefect 3.

Pure, apart from reading a file of profiles and Prefect's own model of its settings.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect.settings import Settings
from prefect.settings.base import PrefectBaseSettings
from pydantic import AliasChoices, BaseModel

from cpln_flows.errors import ConfigurationError
from cpln_flows.migration.plan import Item

KIND = "setting"
RENAMED: Mapping[str, str] = {
    "PREFECT_AGENT_PREFETCH_SECONDS": "PREFECT_WORKER_PREFETCH_SECONDS",
    "PREFECT_AGENT_QUERY_INTERVAL": "PREFECT_WORKER_QUERY_SECONDS",
    "PREFECT_ORION_API_HOST": "PREFECT_SERVER_API_HOST",
    "PREFECT_ORION_API_PORT": "PREFECT_SERVER_API_PORT",
    "PREFECT_ORION_DATABASE_CONNECTION_URL": "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_ORION_UI_API_URL": "PREFECT_SERVER_UI_API_URL",
}
"""Names of Prefect 2 that Prefect 3 does not read, with the names that it reads instead."""
KEPT: Mapping[str, str] = {"PREFECT_AGENT_CPLN_MONITOR_INTERVAL": "CPLN_MONITOR_INTERVAL"}
"""Names of the fork that this package still reads, with their current names."""

_PREFIX = "PREFECT_"
_GONE = ("PREFECT_AGENT_", "PREFECT_EXPERIMENTAL_", "PREFECT_ORION_")
"""Prefixes of names that were settings.

Any other unknown name in an environment may be a variable of the user's own.
"""
_ENVIRONMENT = "the environment"


@dataclass(frozen=True)
class Given:
    """A setting that was found.

    Attributes:
        name: Name of its environment variable.
        place: Where it is set.
    """

    name: str
    place: str


def of_environment(environment: Mapping[str, str]) -> tuple[Given, ...]:
    """Return Prefect's settings in an environment."""
    return tuple(
        Given(name, _ENVIRONMENT) for name in sorted(environment) if name.startswith(_PREFIX)
    )


def of_profiles(path: Path) -> tuple[Given, ...]:
    """Return the settings in a file of profiles; none if there is no file.

    Raises:
        ConfigurationError: The file cannot be read, or is not TOML.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: the file of Prefect's profiles cannot be read: {error}"
        ) from None
    profiles = found.get("profiles")
    named = profiles.items() if isinstance(profiles, dict) else ()
    return tuple(
        Given(name, f"the profile {profile!r}")
        for profile, settings in named
        if isinstance(settings, dict)
        for name in sorted(settings)
    )


def decide(given: tuple[Given, ...]) -> tuple[Item, ...]:
    """Return what is to be done about settings; skip those that Prefect 3 knows.

    Example:
        >>> (item,) = decide((Given("PREFECT_AGENT_QUERY_INTERVAL", "the profile 'prod'"),))
        >>> print(item.by_hand[0])
        in the profile 'prod': Prefect 3 does not read it; set PREFECT_WORKER_QUERY_SECONDS instead
    """
    known = frozenset(_known(Settings))
    return tuple(item for setting in given if (item := _item(setting, known)) is not None)


def _item(setting: Given, known: frozenset[str]) -> Item | None:
    name, where = setting.name, f"in {setting.place}"
    if name in KEPT:
        return Item(KIND, name, changes=(f"{where}: still read; its name is {KEPT[name]} now",))
    if name in RENAMED:
        line = f"{where}: Prefect 3 does not read it; set {RENAMED[name]} instead"
        return Item(KIND, name, RENAMED[name], by_hand=(line,))
    may_be_own = setting.place == _ENVIRONMENT and not name.startswith(_GONE)
    if name in known or may_be_own or not name.startswith(_PREFIX):
        return None
    return Item(
        KIND, name, "removed", by_hand=(f"{where}: Prefect 3 has no such setting; remove it",)
    )


def _known(model: type[BaseModel]) -> Iterator[str]:
    """Yield the names of all variables that Prefect reads, including aliases."""
    prefix = str(model.model_config.get("env_prefix", ""))
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, PrefectBaseSettings):
            yield from _known(field.annotation)
        yield f"{prefix}{name}".upper()
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        yield from (choice.upper() for choice in choices if isinstance(choice, str))
