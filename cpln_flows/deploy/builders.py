"""Which program builds an image, and which one logs in to the registry. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

from cpln_flows.model.display import shown

_INSTALL_CPLN = "npm install -g @controlplane/cli"
_NO_DOCKER = "there is no docker on PATH; install Docker with its plugin buildx"
_NO_BUILDX = "docker has no plugin buildx (docker buildx version fails); install it"


class Builder(StrEnum):
    """What builds an image."""

    CPLN = "cpln"
    """`cpln image build`, which runs docker itself."""
    DOCKER = "docker"
    """`docker buildx build`."""


class Login(StrEnum):
    """How docker gets the registry's token before it pushes."""

    HELPER = "helper"
    """`cpln image docker-login`: its credential helper stores no token."""
    TOKEN = "token"  # noqa: S105 - not one
    """`docker login`, with the token on its standard input, and a logout afterwards."""
    NONE = "none"
    """Not at all: docker was logged in before, or the builder does it."""


@dataclass(frozen=True)
class Machine:
    """What was found on this machine.

    Args:
        has_cpln: Whether `cpln` is on PATH.
        has_docker: Whether `docker` is on PATH.
        has_buildx: Whether docker has its plugin buildx.
        has_profile: Whether `cpln` has a profile that it uses by default.
        token: The token of the settings.
    """

    has_cpln: bool = False
    has_docker: bool = False
    has_buildx: bool = False
    has_profile: bool = False
    token: SecretStr | None = None

    @property
    def has_login(self) -> bool:
        """Whether `cpln` can talk to the platform."""
        return self.has_cpln and (self.has_profile or self.token is not None)


def wanted_of(value: object) -> Builder | None:
    """Return the builder that was asked for; ``None`` leaves the choice to this package.

    Args:
        value: What was given.

    Raises:
        ValueError: There is no such builder.
    """
    if value is None:
        return None
    if value not in tuple(Builder):
        raise ValueError(
            f"builder: expected cpln or docker, found {shown(value)}; leave the field out to take"
            " what this machine has"
        )
    return Builder(str(value))


def builder_of(wanted: Builder | None, machine: Machine, *, has_build_args: bool) -> Builder:
    """Return what builds an image.

    Args:
        wanted: The builder that was asked for.
        machine: What was found on this machine.
        has_build_args: Whether there are build arguments, which `cpln image build` does not take.

    Raises:
        ValueError: Nothing can build it here.
    """
    fault = _why_no_cpln(machine, has_build_args=has_build_args)
    if wanted is Builder.CPLN and fault:
        raise ValueError(f"builder: cpln was asked for, but {fault}")
    if wanted is not Builder.DOCKER and not fault:
        return Builder.CPLN
    if machine.has_docker and machine.has_buildx:
        return Builder.DOCKER
    reason = _NO_BUILDX if machine.has_docker else _NO_DOCKER
    if wanted is None and not machine.has_cpln:
        reason += f", and Control Plane's own command line if you like ({_INSTALL_CPLN})"
    raise ValueError(f"builder: {reason}")


def login_of(wanted: Builder | None, machine: Machine) -> Login:
    """Return how docker logs in to the registry before it pushes an image.

    Args:
        wanted: The builder that was asked for: with `docker`, `cpln` is not used.
        machine: What was found on this machine.

    Raises:
        ValueError: Nothing can push it here.
    """
    if not machine.has_docker:
        raise ValueError(f"builder: {_NO_DOCKER}")
    if wanted is Builder.CPLN and not machine.has_login:
        raise ValueError(
            f"builder: cpln was asked for, but {_why_no_cpln(machine, has_build_args=False)}"
        )
    if machine.has_login and wanted is not Builder.DOCKER:
        return Login.HELPER
    return Login.TOKEN if machine.token is not None else Login.NONE


def _why_no_cpln(machine: Machine, *, has_build_args: bool) -> str | None:
    if not machine.has_cpln:
        return f"there is no cpln on PATH; install it ({_INSTALL_CPLN}), or leave builder out"
    if not machine.has_login:
        return "it has neither a token nor a profile; set CPLN_TOKEN, or run cpln login"
    if not machine.has_docker:
        return f"it builds with docker, and {_NO_DOCKER}"
    if has_build_args:
        return "cpln image build takes no build_args; leave builder out, or set it to docker"
    return None
