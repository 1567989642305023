"""Names, tags and references of the images of an organization. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cpln_flows.model import links
from cpln_flows.model.display import shown

PLATFORM = "linux/amd64"
"""The only platform that workloads run on."""

_LONGEST_NAME = 128
_NAME = re.compile(r"[a-z0-9]+(?:(?:__|[._]|-+|/)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Image:
    """One image of an organization."""

    org: str
    name: str
    tag: str

    @property
    def reference(self) -> str:
        """The reference that workloads of the organization use, and so job variables.

        >>> Image("acme", "flows", "1.0").reference
        '//image/flows:1.0'
        """
        return f"//image/{self.name}:{self.tag}"

    @property
    def registry(self) -> str:
        """The host of the organization's registry."""
        return f"{self.org}.registry.cpln.io"

    @property
    def registry_image(self) -> str:
        """The name by which docker knows the image.

        >>> Image("acme", "flows", "1.0").registry_image
        'acme.registry.cpln.io/flows:1.0'
        """
        return f"{self.registry}/{self.name}:{self.tag}"


def default_tag(commit: str | None, now: datetime) -> str:
    """Return the tag of an image that was given none: the commit, or else the time in UTC.

    Args:
        commit: The commit of the sources, if they are exactly as committed.
        now: The current time.

    Example:
        >>> moment = datetime(2026, 4, 1, 12, 30, 5, tzinfo=UTC)
        >>> default_tag("1f0c5e2ab9d4", moment), default_tag(None, moment)
        ('1f0c5e2ab9d4', '20260401T123005Z')
    """
    return commit or now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def name_of(value: object) -> str:
    """Return the name of an image.

    Args:
        value: What was given.

    Raises:
        ValueError: It cannot be one.
    """
    if isinstance(value, str) and len(value) <= _LONGEST_NAME and _NAME.fullmatch(value):
        return value
    raise ValueError(
        "name: expected a name in lower case such as flows, without registry, link and tag, found"
        f" {shown(value)}; the registry follows from org, and the tag is a field of its own"
    )


def tag_of(value: object) -> str:
    """Return the tag of an image.

    Args:
        value: What was given.

    Raises:
        ValueError: It cannot be one.
    """
    if isinstance(value, str) and _TAG.fullmatch(value):
        return value
    advice = (
        "use such characters, as in 1.0"
        if isinstance(value, str)
        else "put it in quotes, because YAML reads 1.10 as the number 1.1"
    )
    raise ValueError(
        "tag: expected a string of up to 128 letters, digits, dots, dashes and underscores that"
        f" begins with a letter, a digit or an underscore, found {shown(value)}; {advice}"
    )


def org_of(value: object) -> str:
    """Return the name of the organization, given as a name or as a link.

    Args:
        value: What was given.

    Raises:
        ValueError: There is none, or it cannot be one.
    """
    if value is None or value == "":
        raise ValueError(
            "org: none given, and CPLN_ORG is not set; give the step its org, or set CPLN_ORG to"
            " the organization whose registry gets the image"
        )
    try:
        return links.organization(value if isinstance(value, str) else shown(value))
    except ValueError as error:
        raise ValueError(f"org: {error}") from None


def platform_of(value: object) -> str:
    """Return the platform.

    Args:
        value: What was given.

    Raises:
        ValueError: Workloads do not run on it.
    """
    if value != PLATFORM:
        raise ValueError(
            f"platform: found {shown(value)}, but workloads run on {PLATFORM} only; leave the field"
            " out"
        )
    return PLATFORM
