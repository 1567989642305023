"""Look at this machine: which programs there are, who is logged in, what the sources are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from cpln_flows.deploy.builders import Machine
from cpln_flows.deploy.checks import Source
from cpln_flows.settings import DEFAULT_ENDPOINT, CplnSettings, process_environment

_PATIENCE_SECONDS = 60
"""Reading takes so long at most; what takes longer counts as not known."""


def observe(settings: CplnSettings) -> Machine:
    """Return what there is to build with.

    Args:
        settings: The settings of this process.
    """
    environment = process_environment()
    has_docker = _is_there("docker", environment)
    return Machine(
        has_cpln=_is_there("cpln", environment),
        has_docker=has_docker,
        has_buildx=has_docker and _output(("docker", "buildx", "version")) is not None,
        has_profile=_has_profile(environment),
        token=token_of(settings),
    )


def source_of(context: object, dockerfile: object) -> Source:
    """Return what an image is built from.

    Args:
        context: The folder that the builder gets. Default: the current one.
        dockerfile: The Dockerfile. Default: the one in that folder.
    """
    folder = Path("." if context is None else str(context)).absolute()
    file = folder / "Dockerfile" if dockerfile is None else Path(str(dockerfile)).absolute()
    return Source(folder, file, folder.is_dir(), file.is_file())


def clean_commit(folder: Path) -> str | None:
    """Return the commit of a folder whose files are exactly as committed, if that is known.

    Files that git ignores do not count.

    Args:
        folder: A folder of a repository.
    """
    git = ("git", "--no-optional-locks", "-C", str(folder))
    if _output((*git, "status", "--porcelain")) != "":
        return None
    return _output((*git, "rev-parse", "--short=12", "HEAD"))


def command_environment(settings: CplnSettings) -> dict[str, str]:
    """Return the environment for `cpln` and `docker`, whose credential helper is `cpln` as well.

    The vendor's command line knows only the short names of the variables.

    Args:
        settings: The settings of this process.
    """
    token = token_of(settings)
    given = {} if token is None else {"CPLN_TOKEN": token.get_secret_value()}
    if settings.endpoint != DEFAULT_ENDPOINT:
        given["CPLN_ENDPOINT"] = settings.endpoint
    return process_environment() | given


def token_of(settings: CplnSettings) -> SecretStr | None:
    """Return the token of the settings; a file that holds one ends with a line break.

    Args:
        settings: The settings of this process.
    """
    text = settings.token.get_secret_value().strip() if settings.token else ""
    return SecretStr(text) if text else None


def _is_there(program: str, environment: Mapping[str, str]) -> bool:
    return shutil.which(program, path=environment.get("PATH")) is not None


def _has_profile(environment: Mapping[str, str]) -> bool:
    """Whether `cpln` finds a profile to use: the named one, the default one, or the only one."""
    configuration = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    folder = Path(environment.get("CPLN_HOME") or f"{configuration}/cpln") / "profiles"
    try:
        names = {path.stem for path in folder.glob("*.json")}
        default = folder / "default"
        chosen = environment.get("CPLN_PROFILE") or (
            default.read_text(encoding="utf-8").strip() if default.is_file() else ""
        )
    except (OSError, UnicodeDecodeError):
        return False
    return chosen in names if chosen else len(names) == 1


def _output(command: tuple[str, ...]) -> str | None:
    """Return what a command that only reads prints; ``None`` if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
