"""A Control Plane on this machine, and the settings that point at it.

Nothing else knows that it is local.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from cpln_flows.emulator import (
    Platform,
    PlatformConfig,
    ProcessExecutor,
    RealClock,
    StateFolder,
    serve_in_thread,
)
from cpln_flows.emulator.organizations import check_names
from cpln_flows.settings import CplnSettings

# Prefect's own form of a variable's name, which wins over the platform's.
OWN_PREFIX = "PREFECT_INTEGRATIONS_"


@dataclass(frozen=True)
class LocalPlatform:
    """A running local platform.

    Attributes:
        url: Its endpoint, for the API and the logs.
        platform: Its internals: clock, faults, requests.
        settings: Settings that point at it.
        others: The further organizations at the same endpoint, each with its own settings.
    """

    url: str
    platform: Platform
    settings: CplnSettings
    others: tuple[LocalPlatform, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make any process use this platform.

        The token in them lets that process start others on this machine.
        """
        config = self.platform.config
        return {
            "CPLN_ENDPOINT": self.url,
            "CPLN_LOGS_ENDPOINT": self.url.replace("http", "ws", 1),
            "CPLN_TOKEN": self.platform.token,
            "CPLN_ORG": config.org,
            "CPLN_GVC": config.gvc,
            "CPLN_LOCATION": config.locations[0],
        }

    def environment_for(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment that points at this platform, whatever it pointed at before.

        Args:
            environment: The environment to start from.
        """
        hidden = {f"{OWN_PREFIX}{name}" for name in self.environment}
        return {
            name: value for name, value in environment.items() if name not in hidden
        } | self.environment


@contextmanager
def local_platform(
    platform: Platform | None = None,
    *,
    port: int = 0,
    orgs: Sequence[str] = (),
    others: Sequence[Platform] = (),
    state: Path | None = None,
) -> Iterator[LocalPlatform]:
    """Serve a local Control Plane on the loopback interface, in a thread of its own.

    Jobs run as local processes; none of them, and no file outside of ``state``, is left when the
    block is over. The token is random and known only to the holder of ``LocalPlatform``: see
    ``environment``.

    Args:
        platform: A platform made by hand, with another configuration, clock, executor or state.
        port: Where to listen. Default: a free port.
        orgs: Names of the organizations. Each has a token, which opens no other; the first is the
            one that ``LocalPlatform`` stands for. Default: one organization, ``local``.
        others: Platforms made by hand for further organizations.
        state: Folder in which objects and volumes are kept between runs, and the token too, with a
            folder for each organization in it. Default: nothing is kept.

    Raises:
        OSError: The port is taken.
        StateError: The state cannot be used; the message says why and what to do.
        ValueError: The name of an organization is not valid or given twice, or a platform made by
            hand is given together with what it was made of.

    Example:
        >>> with local_platform() as local:
        ...     local.settings.org, local.url.startswith("http://127.0.0.1:")
        ('local', True)
    """
    if platform is not None and (orgs or state is not None):
        raise ValueError("give organization and state to the platforms that were made by hand")
    first, *further = [platform] if platform is not None else _platforms(orgs, state)
    further += others
    with serve_in_thread(first, port=port, others=further) as server:
        beside = tuple(_local(server.url, each) for each in further)
        yield _local(server.url, first, beside)


def _platforms(orgs: Sequence[str], state: Path | None) -> list[Platform]:
    """Return a platform for each organization; they share the clock and the executor."""
    orgs = orgs or [PlatformConfig().org]
    check_names(orgs)
    clock, executor = RealClock(), ProcessExecutor()
    platforms: list[Platform] = []
    # What follows may refuse one folder when others are in use already.
    with ExitStack() as folders:
        for org in orgs:
            folder = None if state is None else StateFolder(state / org)
            if folder is not None:
                folders.callback(folder.close)
            config = PlatformConfig(org=org)
            platforms.append(Platform(config, clock=clock, executor=executor, state=folder))
        folders.pop_all()
    return platforms


def _local(url: str, platform: Platform, others: tuple[LocalPlatform, ...] = ()) -> LocalPlatform:
    settings = CplnSettings.load(
        token=SecretStr(platform.token),
        org=platform.config.org,
        gvc=platform.config.gvc,
        location=platform.config.locations[0],
        endpoint=url,
        logs_endpoint=url.replace("http", "ws", 1),
    )
    return LocalPlatform(url, platform, settings, others)
