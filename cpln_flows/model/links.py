"""Parse and build names and links of platform objects. Nothing here checks that they exist."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from cpln_flows.errors import ConfigurationError

_PID = re.compile(
    r"^(?P<org>[^:/\s]+):(?P<gvc>[^:/\s]+):(?P<workload>[^:/\s]+):(?P<command_id>[^:/\s]+)$"
)
_OLD_PID = re.compile(r"^(?P<org>[^:/\s]+):(?P<gvc>[^:/\s]+):(?P<name>[^:/\s]+)$")
_WORKLOAD = re.compile(r"^/org/(?P<org>[^/]+)/gvc/(?P<gvc>[^/]+)/workload/(?P<name>[^/]+)$")
_NAME = re.compile(r"[-._a-zA-Z0-9]+")
_FORMS = {
    "org": re.compile(rf"/org/(?P<name>{_NAME.pattern})"),
    "gvc": re.compile(rf"/(?:/|org/(?P<org>{_NAME.pattern})/)gvc/(?P<name>{_NAME.pattern})"),
    "location": re.compile(
        rf"/(?:/|org/(?P<org>{_NAME.pattern})/)location/(?P<name>{_NAME.pattern})"
    ),
}
_EXAMPLES = {
    "org": "/org/acme",
    "gvc": "/org/acme/gvc/dev",
    "location": "/org/acme/location/aws-eu-central-1",
}
_SHOWN = 100
_PID_FORM = "org:gvc:workload:command_id"


def is_name(text: str) -> bool:
    """Whether a string can be the name of an organization or of a GVC.

    Such a name is one part of a path, and of an infrastructure pid.

    >>> is_name("acme"), is_name("/org/acme"), is_name("a:b")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


class Named(NamedTuple):
    """An object given by its name or by its link, which may name the organization too."""

    name: str
    org: str | None = None


def organization(text: str) -> str:
    """Return the name of an organization, given as a name or as a link.

    >>> organization("acme"), organization("/org/acme")
    ('acme', 'acme')

    Raises:
        ValueError: The string is neither.
    """
    return _named("org", text).name


def gvc(text: str) -> Named:
    """Return the name of a GVC, given as a name or as a link.

    >>> gvc("dev"), gvc("//gvc/dev").name, gvc("/org/acme/gvc/dev")
    (Named(name='dev', org=None), 'dev', Named(name='dev', org='acme'))

    Raises:
        ValueError: The string is neither.
    """
    return _named("gvc", text)


def location(text: str) -> str:
    """Return the name of a location, given as a name or as a link.

    >>> location("aws-us-west-2"), location("//location/aws-us-west-2")
    ('aws-us-west-2', 'aws-us-west-2')
    >>> location("/org/acme/location/aws-us-west-2")
    'aws-us-west-2'

    Raises:
        ValueError: The string is neither.
    """
    return _named("location", text).name


def gvc_of(org: str | None, text: str) -> Named:
    """Return the name of a GVC, given as a name or as a link, and its organization.

    Args:
        org: Name of the organization, if it is known.
        text: Name or link of the GVC.

    Raises:
        ValueError: The string is neither, or the link belongs to another organization.
    """
    found = gvc(text)
    if found.org and org and found.org != org:
        raise ValueError(
            f"{text!r} is in the organization {found.org!r}, and the organization given is {org!r}:"
            " give one of the two"
        )
    return Named(found.name, org or found.org)


def _named(kind: str, text: str) -> Named:
    if is_name(text.strip()):
        return Named(text.strip())
    form = _FORMS[kind].fullmatch(text.strip().rstrip("/"))
    if form is None:
        example = _EXAMPLES[kind]
        raise ValueError(
            f"expected a name such as {last_segment(example)}, or a link such as {example},"
            f" found {text[:_SHOWN]!r}"
        )
    return Named(form["name"], form.groupdict().get("org"))


def absolute(link: str, org: str) -> str:
    """Return the full link of an object that a manifest names within its organization.

    >>> absolute("//gvc/dev/identity/etl", "acme"), absolute("/org/acme/secret/db", "acme")
    ('/org/acme/gvc/dev/identity/etl', '/org/acme/secret/db')
    """
    return f"/org/{org}/{link.removeprefix('//')}" if link.startswith("//") else link


def last_segment(name_or_link: str) -> str:
    """Return the name at the end of a link, or the name itself.

    The platform injects ``CPLN_LOCATION`` and ``CPLN_WORKLOAD`` as full links, although its
    documentation shows names.

    >>> last_segment("/org/acme/location/aws-eu-central-1"), last_segment("aws-eu-central-1")
    ('aws-eu-central-1', 'aws-eu-central-1')
    """
    return name_or_link.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True, order=True)
class GvcRef:
    """A global virtual cloud: the namespace that workloads live in."""

    org: str
    gvc: str

    @property
    def path(self) -> str:
        """Path in the API, which is also the link."""
        return f"/org/{self.org}/gvc/{self.gvc}"

    def workload(self, name: str) -> WorkloadRef:
        """Return the workload of this name."""
        return WorkloadRef(self.org, self.gvc, name)


@dataclass(frozen=True, order=True)
class WorkloadRef:
    """A workload, on which jobs run."""

    org: str
    gvc: str
    name: str

    @classmethod
    def parse(cls, link: str) -> WorkloadRef:
        """Parse a full link such as ``/org/acme/gvc/dev/workload/etl``."""
        if match := _WORKLOAD.match(link):
            return cls(**match.groupdict())
        raise ConfigurationError(
            f"{link!r} is not a link of a workload; expected /org/ORG/gvc/GVC/workload/NAME"
        )

    @classmethod
    def of_pid(cls, pid: str) -> WorkloadRef | None:
        """Return the workload of an infrastructure pid, if it is one.

        The pids of prefect-cpln had three parts and named no command; they are accepted too.

        >>> WorkloadRef.of_pid("my-org:my-gvc:courageous-jaguar").name
        'courageous-jaguar'
        """
        match = _OLD_PID.match(pid)
        if match:
            return cls(**match.groupdict())
        found = CommandRef.find(pid)
        return found.workload_ref if found else None

    @property
    def path(self) -> str:
        """Path in the API, which is also the link."""
        return f"/org/{self.org}/gvc/{self.gvc}/workload/{self.name}"

    def command(self, command_id: str) -> CommandRef:
        """Return the command of this id."""
        return CommandRef(self.org, self.gvc, self.name, command_id)


@dataclass(frozen=True, order=True)
class CommandRef:
    """One job: a command of a workload. Its string form is Prefect's *infrastructure pid*."""

    org: str
    gvc: str
    workload: str
    command_id: str

    @classmethod
    def parse(cls, pid: str) -> CommandRef:
        """Parse an infrastructure pid.

        >>> CommandRef.parse("my-org:my-gvc:courageous-jaguar:9b38a647").workload
        'courageous-jaguar'

        Raises:
            ConfigurationError: The string does not have the four parts of a pid.
        """
        if found := cls.find(pid):
            return found
        raise ConfigurationError(f"{pid!r} is not an infrastructure pid; expected {_PID_FORM}")

    @classmethod
    def find(cls, pid: str) -> CommandRef | None:
        """Parse an infrastructure pid; return ``None`` for anything else.

        Another work pool, for example, stores the pid of a process.
        """
        match = _PID.match(pid)
        return cls(**match.groupdict()) if match else None

    @property
    def pid(self) -> str:
        """The infrastructure pid, ``org:gvc:workload:command_id``."""
        return f"{self.org}:{self.gvc}:{self.workload}:{self.command_id}"

    @property
    def workload_ref(self) -> WorkloadRef:
        """The workload that the job runs on."""
        return WorkloadRef(self.org, self.gvc, self.workload)

    @property
    def path(self) -> str:
        """Path in the API, which is also the link."""
        return f"{self.workload_ref.path}/-command/{self.command_id}"

    def __str__(self) -> str:
        return self.pid
