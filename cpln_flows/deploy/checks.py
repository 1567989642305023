"""Check what a step was given, and find every fault before the first command. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cpln_flows.deploy import builders, names
from cpln_flows.deploy.builders import Builder, Login, Machine
from cpln_flows.errors import ConfigurationError
from cpln_flows.model import suggestions
from cpln_flows.model.display import shown

T = TypeVar("T")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Source:
    """What an image is built from, and whether it is there.

    Args:
        context: The folder that the builder gets.
        dockerfile: The Dockerfile.
        has_context: Whether the folder exists.
        has_dockerfile: Whether the file exists.
    """

    context: Path
    dockerfile: Path
    has_context: bool = True
    has_dockerfile: bool = True


@dataclass(frozen=True)
class GivenBuild:
    """What the step `build_image` was given, as YAML or a program has it."""

    name: object
    tag: object = None
    org: object = None
    builder: object = None
    platform: object = names.PLATFORM
    build_args: object = None
    push: object = False
    unknown: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Build:
    """A build without faults; a tag that is missing is chosen when it is built."""

    org: str
    name: str
    tag: str | None
    source: Source
    builder: Builder
    login: Login
    push: bool = False
    build_args: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Push:
    """A push without faults."""

    org: str
    name: str
    tag: str
    login: Login


@dataclass
class _Faults:
    """Collects the faults of several values."""

    subject: str
    found: list[str] = field(default_factory=list)

    def read(self, reader: Callable[[], T], otherwise: T) -> T:
        """Return what a reader returns; its fault is kept, and nothing uses the other value."""
        try:
            return reader()
        except ValueError as error:
            if str(error) not in self.found:
                self.found.append(str(error))
            return otherwise

    def refuse(self) -> None:
        """Raise the error for all faults, if there are any."""
        if len(self.found) == 1:
            raise ConfigurationError(f"{self.subject}: {self.found[0]}")
        if self.found:
            raise ConfigurationError("\n  - ".join([f"{self.subject}:", *self.found]))


def checked_build(
    given: GivenBuild, source: Source, machine: Machine, known: Sequence[str]
) -> Build:
    """Return what is to be built.

    Args:
        given: What the step was given.
        source: What the image is built from.
        machine: What was found on this machine.
        known: The fields of the step.

    Raises:
        ConfigurationError: Something is wrong; the message names every fault.
    """
    faults = _Faults("the image cannot be built")
    for name in given.unknown:
        faults.read(lambda name=name: _refuse_field(name, known), None)  # type: ignore[misc]
    wanted = faults.read(lambda: builders.wanted_of(given.builder), None)
    has_build_args, push = bool(given.build_args), faults.read(lambda: _push_of(given.push), False)
    builder = faults.read(
        lambda: builders.builder_of(wanted, machine, has_build_args=has_build_args), Builder.DOCKER
    )
    has_login = not push or builder is Builder.CPLN
    build = Build(
        faults.read(lambda: names.org_of(given.org), ""),
        faults.read(lambda: names.name_of(given.name), ""),
        None if given.tag is None else faults.read(lambda: names.tag_of(given.tag), ""),
        faults.read(lambda: _existing(source), source),
        builder,
        Login.NONE
        if has_login
        else faults.read(lambda: builders.login_of(wanted, machine), Login.NONE),
        push,
        faults.read(lambda: _arguments_of(given.build_args, machine), ()),
    )
    faults.read(lambda: names.platform_of(given.platform), "")
    faults.refuse()
    return build


def checked_push(name: object, tag: object, org: object, builder: object, machine: Machine) -> Push:
    """Return what is to be pushed.

    Args:
        name: Name of the image.
        tag: Its tag.
        org: The organization whose registry gets it.
        builder: What logs in, if that was asked for.
        machine: What was found on this machine.

    Raises:
        ConfigurationError: Something is wrong; the message names every fault.
    """
    faults = _Faults("the image cannot be pushed")
    wanted = faults.read(lambda: builders.wanted_of(builder), None)
    push = Push(
        faults.read(lambda: names.org_of(org), ""),
        faults.read(lambda: names.name_of(name), ""),
        faults.read(lambda: names.tag_of(tag), ""),
        faults.read(lambda: builders.login_of(wanted, machine), Login.NONE),
    )
    faults.refuse()
    return push


def _refuse_field(name: str, known: Sequence[str]) -> None:
    near = suggestions.near(name, known)
    advice = f"did you mean {near}?" if near else f"the fields are {', '.join(known)}"
    raise ValueError(f"{name}: the step has no such field; {advice}")


def _push_of(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"push: expected true or false, found {shown(value)}; write it without quotes")


def _existing(source: Source) -> Source:
    if not source.has_context:
        raise ValueError(
            f"context: there is no folder {source.context}; give the folder that the Dockerfile"
            " copies from"
        )
    if not source.has_dockerfile:
        raise ValueError(
            f"dockerfile: there is no file {source.dockerfile}; give its path, from the folder in"
            " which the command runs"
        )
    return source


def _arguments_of(value: object, machine: Machine) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise ValueError(  # noqa: TRY004 - one of several faults of what a user wrote
            f"build_args: expected names and their values, found {type(value).__name__}; write"
            " NAME: VALUE"
        )
    return tuple(_argument_of(name, text, machine) for name, text in value.items())


def _argument_of(name: object, value: object, machine: Machine) -> tuple[str, str]:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise ValueError(
            f"build_args: expected the name of an ARG, found {shown(name)}; use the name that the"
            " Dockerfile declares"
        )
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - likewise
            f"build_args.{name}: expected a string, found {type(value).__name__}; put it in quotes"
        )
    if machine.token is not None and machine.token.get_secret_value() in value:
        raise ValueError(
            f"build_args.{name}: it contains the token, which everyone who has the image could"
            " read; a build needs no token of the platform, so leave it out"
        )
    return name, value
