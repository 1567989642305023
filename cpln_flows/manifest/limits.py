"""The platform's limits on names, variables, resources and volumes, for early checks. Pure.

Unless stated otherwise, a function returns what is wrong with a value, or ``None``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import combinations

from slugify import slugify

from cpln_flows.manifest import quantities
from cpln_flows.model import addresses
from cpln_flows.model.display import holds_placeholder, shown

WORKLOAD_NAME_LENGTH = 49
CONTAINERS = 8
COMMAND_LENGTH = 256
ENV_NAME_LENGTH = 120
ENV_VALUE_LENGTH = 4096
TAGS = 50
OWN_TAGS = 3
"""Number of a workload's tags that this library sets."""
DEADLINE_SECONDS = 86_400
TIMEOUT_SECONDS = 3600  # 600 in older schemas of the vendor
TERMINATION_GRACE_SECONDS = 900
RELAXED_GRACE_SECONDS = 3600
RELAXED_GRACE_TAG = "cpln/relaxGracePeriodMax"
HISTORY = 10
VOLUMES = 15
INBOUND_NETWORKS = 250
DESCRIPTION_LENGTH = 250
RELAXED_RATIO_TAG = "cpln/relaxMemoryToCpuRatio"
DEFAULT_CPU = "50m"
DEFAULT_MEMORY = "128Mi"

_CONTAINER_NAME = re.compile(r"[a-z][-a-z0-9]*[a-z0-9]")
_CONTAINER_NAME_LENGTH = 64
_RESERVED_CONTAINERS = frozenset(
    {
        "istio-proxy",
        "queue-proxy",
        "istio-validation",
        "cpln-envoy-assassin",
        "cpln-writer-proxy",
        "cpln-reader-proxy",
        "cpln-dbaas-config",
    }
)
# The vendor's documents disagree on the first two.
_RESERVED_PREFIXES = ("cpln-", "cpln_", "debugger-")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_RESERVED_ENV = frozenset({"K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
_NAME = re.compile(r"[a-z][-a-z0-9]+[a-z0-9]")
_NAME_LENGTH = 63
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
# The vendor's own examples use this form for an identity in the workload's GVC.
_IDENTITY_OF_GVC = re.compile(r"//identity/([^/\s]+)")
_IDENTITY_LINK = re.compile(r"/(?:/|org/[^/\s]+/)gvc/[^/\s]+/identity/[^/\s]+")
_SUFFIX = re.compile(r"[a-z0-9]{1,32}")
_CRON_FIELDS = 5
_LEAST_CPU = 25
_LEAST_MEMORY = 32
_RATIO = 8
_FILLED_CPU, _FILLED_MEMORY = 500, 512
_RELAXED_RATIO = 32
_AMOUNT_LENGTH = 20
_VOLUME_SCHEMES = (
    "cpln://secret/",
    "cpln://volumeset/",
    "scratch://",
    "s3://",
    "gs://",
    "azureblob://",
    "azurefs://",
    "k8s://",
)
_RESERVED_MOUNTS = frozenset({"/", "/dev", "/dev/log", "/tmp", "/var", "/var/log"})  # noqa: S108 - names, not files
_PORTS = range(80, 65_536)
_RESERVED_PORTS = frozenset(
    {8012, 8022, 9090, 9091, 15000, 15001, 15006, 15020, 15021, 15090, 41000}
)


def container_name(name: str) -> str | None:
    """Check the name of a container."""
    if wrong := unfilled(name):
        return wrong
    if not _CONTAINER_NAME.fullmatch(name) or len(name) > _CONTAINER_NAME_LENGTH:
        return (
            f"{shown(name)} is not a container name: expected 2 to {_CONTAINER_NAME_LENGTH}"
            " lowercase letters, digits and dashes, beginning with a letter and not ending with a"
            " dash"
        )
    if name in _RESERVED_CONTAINERS or name.startswith(_RESERVED_PREFIXES):
        return f"{name!r} is reserved by the platform; choose another name"
    return None


def workload_base(name: str) -> str | None:
    """Check the name that a manifest gives to its job."""
    if wrong := unfilled(name):
        return wrong
    if len(name) <= WORKLOAD_NAME_LENGTH:
        return None
    return (
        f"{shown(name)} is {len(name)} characters long, the platform allows {WORKLOAD_NAME_LENGTH};"
        " choose a shorter name"
    )


def env_name(name: str) -> str | None:
    """Check the name of an environment variable."""
    if name.startswith("CPLN_") or name in _RESERVED_ENV:
        return (
            f"{shown(name)} is reserved: the platform sets it by itself and refuses workloads that"
            " do; remove or rename it"
        )
    if not _ENV_NAME.fullmatch(name) or len(name) > ENV_NAME_LENGTH:
        without_value = re.sub("=.*", "=...", name, flags=re.DOTALL)
        return (
            f"{shown(without_value)} is not a variable name: expected at most {ENV_NAME_LENGTH}"
            " letters, digits, '-', '.' and '_', not beginning with a digit"
        )
    return None


def env_value(value: str) -> str | None:
    """Check the value of an environment variable without showing it, as it may be a secret."""
    if len(value) <= ENV_VALUE_LENGTH:
        return None
    return (
        f"is {len(value)} characters long, the platform allows {ENV_VALUE_LENGTH};"
        " put it into a secret and use cpln://secret/NAME.KEY"
    )


def unfilled(text: str) -> str | None:
    """Check that a string is not an unrendered template."""
    if not holds_placeholder(text):
        return None
    return f"{shown(text)} has a placeholder that was not filled in; render the template first"


def image(text: str) -> str | None:
    """Check a reference to an image."""
    if wrong := unfilled(text):
        return wrong
    if text and not re.search(r"\s", text):
        return None
    return f"expected an image such as ubuntu:24.04 or //image/NAME:TAG, found {shown(text)}"


def identity(name_or_link: str, gvc: str) -> tuple[str | None, str | None]:
    """Return the link to an identity, given by its name or its link, or what is wrong with it."""
    if wrong := unfilled(name_or_link):
        return None, wrong
    if name_or_link.startswith("/"):
        if short := _IDENTITY_OF_GVC.fullmatch(name_or_link):
            return f"//gvc/{gvc}/identity/{short[1]}", None
        if _IDENTITY_LINK.fullmatch(name_or_link):
            return name_or_link, None
        return (
            None,
            f"expected a link such as //gvc/{gvc}/identity/NAME, found {shown(name_or_link)}",
        )
    if not _NAME.fullmatch(name_or_link) or len(name_or_link) > _NAME_LENGTH:
        wrong = (
            f"expected the name of an identity in the GVC {gvc!r}, or its link,"
            f" found {shown(name_or_link)}"
        )
        return None, wrong
    return f"//gvc/{gvc}/identity/{name_or_link}", None


def secret_name(name: str) -> str | None:
    """Check the name of a secret or of a volumeset."""
    if wrong := unfilled(name):
        return wrong
    if _NAME.fullmatch(name) and len(name) <= _NAME_LENGTH:
        return None
    return (
        f"{shown(name)} is not a valid name on the platform: expected 3 to {_NAME_LENGTH} lowercase"
        " letters, digits and dashes, beginning with a letter and not ending with a dash; use such"
        " a name there and here"
    )


def secret_key(key: str) -> str | None:
    """Check a key of a secret."""
    if wrong := unfilled(key):
        return wrong
    return (
        None
        if _SECRET_KEY.fullmatch(key)
        else f"expected letters, digits, '-', '_' and '.', found {shown(key)}"
    )


def amounts(cpu_form: str | None, memory_form: str | None, *, relaxed: bool) -> tuple[str, str]:
    """Return the amounts of CPU and memory for a container, with missing ones filled in.

    The defaults are those of prefect-cpln, within the platform's ratio. The platform's own 50m and
    128Mi are too little for Prefect itself.

    >>> amounts(None, None, relaxed=False), amounts(None, "8192Mi", relaxed=False)
    (('500m', '512Mi'), ('1024m', '8192Mi'))
    >>> amounts("25m", None, relaxed=False)
    ('25m', '200Mi')
    """
    most = _RELAXED_RATIO if relaxed else _RATIO
    if cpu_form is None and memory_form is not None:
        return f"{max(_FILLED_CPU, math.ceil(_number(memory_form) / most))}m", memory_form
    cpu_form = cpu_form or f"{_FILLED_CPU}m"
    return cpu_form, memory_form or f"{min(_FILLED_MEMORY, most * _number(cpu_form))}Mi"


def schedule(text: str) -> str | None:
    """Check that a schedule has five fields; their content is left to the platform."""
    if len(text.split()) == _CRON_FIELDS:
        return None
    return f'expected the five fields of a cron schedule such as "0 3 * * *", found {shown(text)}'


def description(text: str) -> str | None:
    """Check a description."""
    if len(text) <= DESCRIPTION_LENGTH and text == text.strip():
        return None
    return (
        f"expected at most {DESCRIPTION_LENGTH} characters and no blank at either end,"
        f" found {len(text)} characters"
    )


def port(number: int) -> str | None:
    """Check a port."""
    if number in _PORTS and number not in _RESERVED_PORTS:
        return None
    return (
        f"port {number} cannot be used on the platform: expected {_PORTS.start} or higher,"
        f" except for {sorted(_RESERVED_PORTS)}"
    )


def volume(uri: str) -> str | None:
    """Check the address of a volume."""
    if any(uri.startswith(scheme) and len(uri) > len(scheme) for scheme in _VOLUME_SCHEMES):
        return None
    return (
        f"expected one of {', '.join(_VOLUME_SCHEMES)}, each with a name,"
        f" found {shown(addresses.without_credentials(uri))}"
    )


def mount(path: str) -> str | None:
    """Check the path at which a volume is mounted."""
    if not path.startswith("/"):
        return f"expected an absolute path, found {shown(path)}"
    if (path.rstrip("/") or "/") in _RESERVED_MOUNTS:
        return (
            f"{shown(path)} is reserved by the platform;"
            " mount the volume elsewhere, such as at /scratch"
        )
    return None


def mounts(paths: Sequence[str]) -> str | None:
    """Check all mount paths of a container together."""
    if len(paths) > VOLUMES:
        return f"there are {len(paths)}, the platform allows {VOLUMES}"
    for first, second in combinations(sorted(path.rstrip("/") + "/" for path in paths), 2):
        if second.startswith(first):
            return (
                f"{shown(second[:-1])} is inside {shown(first[:-1])};"
                " volumes must not be mounted into one another"
            )
    return None


def cpu(value: object) -> tuple[str | None, str | None]:
    """Return the platform's form of an amount of CPU, or what is wrong with it."""
    return _amount(
        value, quantities.millicores, "m", _LEAST_CPU, "an amount of CPU such as 500m or 0.5"
    )


def memory(value: object) -> tuple[str | None, str | None]:
    """Return the platform's form of an amount of memory, or what is wrong with it."""
    return _amount(
        value, quantities.mebibytes, "Mi", _LEAST_MEMORY, "an amount of memory such as 512Mi or 1Gi"
    )


def _amount(
    value: object, read: Callable[[object], int | None], unit: str, least: int, expected: str
) -> tuple[str | None, str | None]:
    amount = read(value)
    if amount is None:
        return None, (
            unfilled(value) if isinstance(value, str) else None
        ) or f"expected {expected}, found {shown(value)}"
    if amount < least:
        return None, f"{shown(value)} is less than the platform's minimum, {least}{unit}"
    form = f"{amount}{unit}"
    return (
        (form, None)
        if len(form) <= _AMOUNT_LENGTH
        else (None, f"{shown(value)} is more than any machine has")
    )


def least_within_most(least: str, most: str) -> bool:
    """Whether a minimum is within a maximum; both have the platform's form and the same unit."""
    return _number(least) <= _number(most)


def _number(form: str) -> int:
    return int(form.rstrip("mMi"))


def ratio(cpu_form: str | None, memory_form: str | None, *, relaxed: bool) -> str | None:
    """Check that there is not too much memory for the CPU; missing amounts get the defaults."""
    millis, mebibytes = _number(cpu_form or DEFAULT_CPU), _number(memory_form or DEFAULT_MEMORY)
    most = _RELAXED_RATIO if relaxed else _RATIO
    if mebibytes <= most * millis:
        return None
    default = "" if cpu_form else ", the platform's default,"
    return (
        f"{mebibytes} MiB for {millis}m of CPU{default} is more than {most} MiB for each 1m;"
        f" request at least {math.ceil(mebibytes / most)}m of CPU"
        + ("" if relaxed else f", or set the tag {RELAXED_RATIO_TAG}")
    )


def workload_name(base: str | None, suffix: str) -> str:
    """Return a valid workload name: first a readable part, then the suffix.

    Different suffixes always give different names.

    >>> workload_name("Nightly ETL (prod)", "3f0c")
    'nightly-etl-prod-3f0c'

    Raises:
        ValueError: The suffix is not 1 to 32 lowercase letters and digits, or is reserved.
    """
    # The platform reserves the ending "headless".
    if not _SUFFIX.fullmatch(suffix) or suffix == "headless":
        raise ValueError(f"{suffix!r} cannot end the name of a workload")
    # HTML entities are left alone: no name contains them on purpose, and some make slugify fail.
    readable = slugify(base or "", entities=False, decimal=False, hexadecimal=False)
    if not readable[:1].isalpha():
        readable = f"job-{readable}"
    return f"{readable[: WORKLOAD_NAME_LENGTH - len(suffix) - 1].strip('-')}-{suffix}"
