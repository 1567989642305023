"""The command lines that build and push an image. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cpln_flows.deploy.builders import Builder, Login
from cpln_flows.deploy.checks import Build
from cpln_flows.deploy.names import PLATFORM, Image

_USER = "<token>"
"""The name under which the registry takes tokens, literally."""
_LOOK = "the lines above have the cause; correct it and deploy again"
_MAY_PUSH = (
    "if the registry refuses, set CPLN_TOKEN to a key that has the permission create on images, or"
    " run cpln login"
)


@dataclass(frozen=True)
class Command:
    """One command line.

    Args:
        arguments: The program and its arguments, none of which is a secret.
        advice: What to do if it fails.
        takes_token: Whether it reads the token from its standard input.
    """

    arguments: tuple[str, ...]
    advice: str = _LOOK
    takes_token: bool = False


@dataclass(frozen=True)
class Plan:
    """The commands of one step.

    Args:
        commands: These run one after another, up to the first that fails.
        last: This one runs whatever has become of them.
    """

    commands: tuple[Command, ...]
    last: Command | None = None


def build_plan(build: Build, image: Image) -> Plan:
    """Return the commands that build an image, and push it if that was asked for.

    Args:
        build: What is to be built.
        image: The image that it becomes.
    """
    advice = f"{_LOOK}; {_MAY_PUSH}" if build.push else _LOOK
    if build.builder is Builder.CPLN:
        return Plan((Command(_cpln_build(build, image), advice),))
    return _logged_in(build.login, image, Command(_docker_build(build, image), advice))


def push_plan(login: Login, image: Image) -> Plan:
    """Return the commands that push an image that was built before.

    Args:
        login: How docker logs in to the registry.
        image: The image.
    """
    advice = f"{_LOOK}; {_MAY_PUSH}"
    return _logged_in(login, image, Command(("docker", "push", image.registry_image), advice))


def _cpln_build(build: Build, image: Image) -> tuple[str, ...]:
    source = build.source
    return (
        *("cpln", "image", "build", "--org", image.org, "--name", f"{image.name}:{image.tag}"),
        *("--dockerfile", str(source.dockerfile), "--dir", str(source.context)),
        *("--platform", PLATFORM, *(("--push",) if build.push else ())),
    )


def _docker_build(build: Build, image: Image) -> tuple[str, ...]:
    arguments = [part for pair in build.build_args for part in ("--build-arg", "=".join(pair))]
    return (
        *("docker", "buildx", "build", "--platform", PLATFORM),
        *("--file", str(build.source.dockerfile), "--tag", image.registry_image, *arguments),
        "--push" if build.push else "--load",
        str(build.source.context),
    )


def _logged_in(login: Login, image: Image, command: Command) -> Plan:
    match login:
        case Login.HELPER:
            helper = ("cpln", "image", "docker-login", "--org", image.org)
            return Plan((Command(helper, _MAY_PUSH), command))
        case Login.TOKEN:
            before = ("docker", "login", image.registry, "--username", _USER, "--password-stdin")
            after = Command(("docker", "logout", image.registry))
            return Plan((Command(before, _MAY_PUSH, takes_token=True), command), after)
        case Login.NONE:
            return Plan((command,))
