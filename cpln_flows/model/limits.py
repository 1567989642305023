"""The platform's limits on names, environments and resources, checked before anything is sent. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from slugify import slugify

WORKLOAD_NAME_LENGTH = 49
CONTAINERS = 8
COMMAND_LENGTH = 256
ENV_NAME_LENGTH = 120
ENV_VALUE_LENGTH = 4096
TAGS = 50
DEADLINE_SECONDS = 86_400
TERMINATION_GRACE_SECONDS = 900
HISTORY = 10
DEFAULT_CPU_MILLIS = 50.0
DEFAULT_MEMORY_MIB = 128.0

_CONTAINER_NAME = re.compile(r"^[a-z]([-a-z0-9])*[a-z0-9]$")
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
_ENV_NAME = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
_RESERVED_ENV = frozenset({"K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
_QUANTITY = re.compile(r"^(?P<number>[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?)(?P<suffix>m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_FACTORS: Mapping[str, float] = {
    "": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip
_LEAST_CPU_MILLIS = 25.0
_LEAST_MEMORY_MIB = 32.0
_RATIO = 8.0
_RELAXED_RATIO = 32.0
_MIB = 2**20


def container_name(name: str) -> str | None:
    """Say what is wrong with the name of a container, or nothing."""
    if not _CONTAINER_NAME.match(name) or len(name) > _CONTAINER_NAME_LENGTH:
        return f"{name!r} is not a container name: at most {_CONTAINER_NAME_LENGTH} lower-case letters, digits and dashes"
    if name in _RESERVED_CONTAINERS or name.startswith(("cpln-", "cpln_", "debugger-")):
        return f"{name!r} is reserved by the platform; choose another name"
    return None


def env_name(name: str) -> str | None:
    """Say what is wrong with the name of an environment variable, or nothing."""
    if name.startswith("CPLN_") or name in _RESERVED_ENV:
        return f"{name!r} is reserved: the platform sets it by itself and refuses workloads that do; remove it or rename it"
    if not _ENV_NAME.match(name) or len(name) > ENV_NAME_LENGTH:
        return f"{name!r} is not a name of a variable: at most {ENV_NAME_LENGTH} letters, digits, '-', '.' and '_'"
    return None


def quantity(value: object) -> float | None:
    """Return a Kubernetes quantity as a number of its unit (cores, bytes), or nothing if it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _QUANTITY.match(str(value))
    return float(match["number"]) * _FACTORS[match["suffix"] or ""] if match else None


def cpu(value: object) -> tuple[str | None, str | None]:
    """Return the platform's form of an amount of CPU, or what is wrong with it."""
    cores = quantity(value)
    if cores is None:
        return None, f"expected an amount of CPU such as 500m or 0.5, found {value!r}"
    millis = cores * 1000
    if millis < _LEAST_CPU_MILLIS:
        return None, f"{value!r} is less than the platform's least, {_LEAST_CPU_MILLIS:g}m"
    return f"{round(millis)}m", None


def memory(value: object) -> tuple[str | None, str | None]:
    """Return the platform's form of an amount of memory, or what is wrong with it."""
    amount = quantity(value)
    if amount is None:
        return None, f"expected an amount of memory such as 512Mi or 1Gi, found {value!r}"
    mebibytes = amount / _MIB
    if mebibytes < _LEAST_MEMORY_MIB:
        return None, f"{value!r} is less than the platform's least, {_LEAST_MEMORY_MIB:g}Mi"
    return f"{round(mebibytes)}Mi", None


def ratio(cpu_form: str | None, memory_form: str | None, *, relaxed: bool) -> str | None:
    """Say whether there is too much memory for the CPU, or nothing; what is not given has the platform's default."""
    millis = float(cpu_form.removesuffix("m")) if cpu_form else DEFAULT_CPU_MILLIS
    mebibytes = float(memory_form.removesuffix("Mi")) if memory_form else DEFAULT_MEMORY_MIB
    most = _RELAXED_RATIO if relaxed else _RATIO
    if mebibytes / millis <= most:
        return None
    return (
        f"{mebibytes:g} MiB for {millis:g}m of CPU is more than {most:g} MiB for each 1m; ask for at least"
        f" {mebibytes / most:.0f}m of CPU" + ("" if relaxed else ", or set the tag cpln/relaxMemoryToCpuRatio")
    )


def workload_name(base: str | None, suffix: str) -> str:
    """Return a name for a workload: readable first, unique last, within the platform's rule.

    >>> workload_name("Nightly ETL (prod)", "3f0c")
    'nightly-etl-prod-3f0c'
    """
    readable = slugify(base or "", max_length=WORKLOAD_NAME_LENGTH - len(suffix) - 1).strip("-")
    if not readable or not readable[0].isalpha():
        readable = f"job-{readable}".strip("-")[: WORKLOAD_NAME_LENGTH - len(suffix) - 1].strip("-")
    return f"{readable}-{suffix}"
