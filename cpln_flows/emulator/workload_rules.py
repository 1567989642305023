"""The rules for valid workloads and their commands; ``checks`` has the general rules.

Also normalizes: what the platform stores differs from what was sent (environment sorted by name,
strings converted to booleans and numbers, links in full).
"""

from __future__ import annotations

import re

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.checks import (
    Problems,
    check_choice,
    check_known,
    check_name,
    check_number,
    check_tags,
    check_text,
    mapping,
    sequence,
)
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.container_rules import check_gpu, check_gpu_options, check_lifecycle
from cpln_flows.emulator.probe_rules import check_probe, check_scaling
from cpln_flows.emulator.schedule import InvalidScheduleError, parse_schedule

TYPES = ("serverless", "standard", "stateful", "cron", "vm")
CONTAINER_LIMIT = 8
DEADLINE_LIMIT = 86_400
HISTORY_MAX = 10
COMMAND_LIMIT = 256
ENV_NAME_LIMIT = 120
ENV_VALUE_LIMIT = 4096
QUANTITY_LIMIT = 20
VOLUME_LIMIT = 15
PORT_LOW, PORT_HIGH = 80, 65_535
RATIO, RELAXED_RATIO = 8.0, 32.0
GRACE_MAX, RELAXED_GRACE_MAX = 900, 3600
MIN_CPU, MIN_MEMORY = 0.025, 32 * 2**20

_SPEC_FIELDS = frozenset({
    "type", "containers", "identityLink", "job", "defaultOptions", "localOptions", "firewallConfig",
    "rolloutOptions", "securityOptions", "loadBalancer", "sidecar", "extras", "supportDynamicTags",
    "requestRetryPolicy", "vm",
})  # fmt: skip
_CONTAINER_FIELDS = frozenset({
    "name", "image", "cpu", "memory", "minCpu", "minMemory", "command", "args", "env", "inheritEnv",
    "workingDir", "port", "ports", "lifecycle", "readinessProbe", "livenessProbe", "volumes",
    "metrics", "gpu",
})  # fmt: skip
_JOB_FIELDS = frozenset(
    {"schedule", "concurrencyPolicy", "historyLimit", "restartPolicy", "activeDeadlineSeconds"}
)
_OVERRIDE_FIELDS = frozenset({"name", "env", "command", "args", "memory", "cpu", "image"})
_CONTAINER_NAME = re.compile(r"[a-z]([-a-z0-9])*[a-z0-9]")
_CONTAINER_NAME_LIMIT = 64
_RESERVED_CONTAINERS = frozenset({
    "istio-proxy", "queue-proxy", "istio-validation", "cpln-envoy-assassin", "cpln-writer-proxy",
    "cpln-reader-proxy", "cpln-dbaas-config",
})  # fmt: skip
_RESERVED_PREFIXES = ("cpln-", "debugger-")
_RESERVED_PORTS = frozenset(
    {8012, 8022, 9090, 9091, 15000, 15001, 15006, 15020, 15021, 15090, 41000}
)
_RESERVED_PATHS = ("/dev", "/dev/log", "/tmp", "/var", "/var/log")  # noqa: S108 - mount points
_VOLUME_SCHEMES = (
    "cpln://secret/", "cpln://volumeset/", "scratch://", "s3://", "gs://", "azureblob://",
    "azurefs://", "k8s://",
)  # fmt: skip
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_RESERVED_ENV = ("K_SERVICE", "K_CONFIGURATION", "K_REVISION")
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")
_SUFFIXES = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3,
    "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip
_CONTAINER_DEFAULTS = {"cpu": "50m", "memory": "128Mi", "inheritEnv": False}
_JOB_DEFAULTS = {"concurrencyPolicy": "Forbid", "restartPolicy": "Never"}
_OPTION_DEFAULTS = {"timeoutSeconds": 5, "capacityAI": True, "debug": False, "suspend": False}
_BOOLEANS = ("suspend", "capacityAI", "debug", "spot", "inheritEnv", "supportDynamicTags")
_DIGITS = re.compile(r"[0-9]{1,9}")
_NUMBERS = (
    "historyLimit",
    "activeDeadlineSeconds",
    "timeoutSeconds",
    "terminationGracePeriodSeconds",
    "runAsUser",
    "minScale",
    "maxScale",
    "maxConcurrency",
    "scaleToZeroDelay",
    "target",
)


def quantity(text: str) -> float | None:
    """Parse an amount of CPU or memory; return ``None`` if it has no meaning."""
    matched = _QUANTITY.fullmatch(text)
    if matched is None:
        return None
    number, suffix = matched.groups()
    if suffix[:1] in ("e", "E") and suffix[1:].lstrip("+-").isdigit():
        number, suffix = number + suffix, ""
    try:
        return float(number) * _SUFFIXES[suffix]
    except (ValueError, KeyError):
        return None


def normalise_spec(spec: Document) -> Document:
    """Return a workload's spec as the platform stores it."""
    stored = _coerce(spec)
    containers = stored.get("containers")
    if isinstance(containers, list):
        stored["containers"] = [_sorted_env(container) for container in containers]
    return stored


def with_defaults(spec: Document, config: PlatformConfig) -> Document:
    """Fill in the platform's defaults in a checked spec, and drop what it does not keep."""
    filled = {
        **spec,
        "containers": [{**_CONTAINER_DEFAULTS, **container} for container in spec["containers"]],
    }
    filled["defaultOptions"] = {**_OPTION_DEFAULTS, **(spec.get("defaultOptions") or {})}
    if spec.get("type") == "cron":
        filled["job"] = {**_JOB_DEFAULTS, "historyLimit": config.history_limit, **spec["job"]}
    if spec.get("type") == "stateful" and spec.get("rolloutOptions") is not None:
        filled["rolloutOptions"] = {
            name: value
            for name, value in spec["rolloutOptions"].items()
            if name != "maxUnavailableReplicas"
        }
    return filled


def _coerce(content: Document) -> Document:
    # A field that is null is a field that is not there.
    return {key: _coerce_value(key, value) for key, value in content.items() if value is not None}


def _coerce_value(key: str, value: object) -> object:
    # "cpln workload update --set spec.defaultOptions.suspend=true" sends the string "true".
    if isinstance(value, dict):
        return _coerce(value)
    if isinstance(value, list):
        return [_coerce(item) if isinstance(item, dict) else item for item in value]
    if key in _BOOLEANS and value in ("true", "false"):
        return value == "true"
    if key in _NUMBERS and isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value


def _sorted_env(container: object) -> object:
    if not isinstance(container, dict) or not isinstance(container.get("env"), list):
        return container
    return {**container, "env": sorted(container["env"], key=_env_name)}


def _env_name(entry: object) -> str:
    return str(entry.get("name", "")) if isinstance(entry, dict) else ""


def check_workload(problems: Problems, document: Document, config: PlatformConfig) -> None:
    """Check a whole workload."""
    name = document.get("name")
    check_name(problems, name, config.workload_name_limit)
    if isinstance(name, str) and name.endswith("-headless"):
        problems.add("name", "must not end with -headless")
    spec = mapping(problems, document.get("spec"), "spec")
    check_known(problems, spec, "spec", _SPEC_FIELDS)
    if spec.get("type") is None:
        problems.add("spec.type", "is required")
    check_choice(problems, spec.get("type"), "spec.type", TYPES)
    is_relaxed = _is_tagged(document, "cpln/relaxMemoryToCpuRatio")
    _check_containers(problems, spec, RELAXED_RATIO if is_relaxed else RATIO)
    _check_job(problems, spec, config)
    is_relaxed = _is_tagged(document, "cpln/relaxGracePeriodMax")
    _check_options(problems, spec, RELAXED_GRACE_MAX if is_relaxed else GRACE_MAX)


def _is_tagged(document: Document, name: str) -> bool:
    return str((document.get("tags") or {}).get(name, "")).lower() == "true"


def _check_containers(problems: Problems, spec: Document, ratio: float) -> None:
    containers = sequence(problems, spec.get("containers"), "spec.containers", CONTAINER_LIMIT)
    if not containers:
        problems.add("spec.containers", "must contain at least 1 items")
    names: set[object] = set()
    for index, item in enumerate(containers):
        path = f"spec.containers[{index}]"
        container = mapping(problems, item, path)
        _check_container(problems, container, path, ratio)
        if container.get("name") in names:
            problems.add(f"{path}.name", "contains a duplicate value")
        names.add(container.get("name"))


def _check_container(problems: Problems, container: Document, path: str, ratio: float) -> None:
    check_known(problems, container, path, _CONTAINER_FIELDS)
    _check_container_name(problems, container.get("name"), f"{path}.name")
    if not isinstance(container.get("image"), str) or not container["image"]:
        problems.add(f"{path}.image", "is required")
    _check_process(problems, container, path)
    _check_resources(problems, container, path, ratio)
    working_dir = container.get("workingDir")
    if working_dir is not None and not str(working_dir).startswith("/"):
        problems.add(f"{path}.workingDir", "must be an absolute path")
    _check_ports(problems, container, path)
    for probe in ("readinessProbe", "livenessProbe"):
        check_probe(problems, container.get(probe), f"{path}.{probe}")
    check_lifecycle(problems, container, path)
    check_gpu(problems, container, path)
    _check_volumes(problems, container, path)


def _check_container_name(problems: Problems, name: object, path: str) -> None:
    if not isinstance(name, str):
        problems.add(path, "is required")
        return
    if not _CONTAINER_NAME.fullmatch(name) or len(name) > _CONTAINER_NAME_LIMIT:
        problems.add(
            path,
            rf"with value {name!r} fails to match the required pattern:"
            rf" /^{_CONTAINER_NAME.pattern}$/",
        )
    if name in _RESERVED_CONTAINERS or name.startswith(_RESERVED_PREFIXES):
        problems.add(path, f"{name!r} is reserved for system use")


def _check_process(problems: Problems, container: Document, path: str) -> None:
    check_text(problems, container.get("command"), f"{path}.command", COMMAND_LIMIT)
    for index, argument in enumerate(sequence(problems, container.get("args"), f"{path}.args")):
        check_text(problems, argument, f"{path}.args[{index}]")
    check_env(problems, container.get("env"), f"{path}.env")


def check_env(problems: Problems, env: object, path: str) -> None:
    """Check a list of environment variables."""
    for index, item in enumerate(sequence(problems, env, path)):
        where = f"{path}[{index}]"
        entry = mapping(problems, item, where)
        check_known(problems, entry, where, ("name", "value"))
        name = entry.get("name")
        if not isinstance(name, str):
            problems.add(f"{where}.name", "is required")
            continue
        if name.startswith("CPLN_"):
            problems.say(
                "Environment variable names starting with CPLN_ are reserved for system use"
                f" ({where}.name {name!r})"
            )
        elif name in _RESERVED_ENV:
            problems.add(f"{where}.name", f"{name!r} is reserved for system use")
        if not _ENV_NAME.fullmatch(name) or len(name) > ENV_NAME_LIMIT:
            problems.add(
                f"{where}.name", f"with value {name!r} is not a valid environment variable name"
            )
        check_text(problems, entry.get("value"), f"{where}.value", ENV_VALUE_LIMIT)


def _check_resources(problems: Problems, container: Document, path: str, ratio: float) -> None:
    cpu = _check_quantity(problems, container.get("cpu", "50m"), f"{path}.cpu", MIN_CPU, "25m")
    memory = _check_quantity(
        problems, container.get("memory", "128Mi"), f"{path}.memory", MIN_MEMORY, "32Mi"
    )
    min_cpu = _check_quantity(problems, container.get("minCpu"), f"{path}.minCpu", MIN_CPU, "25m")
    min_memory = _check_quantity(
        problems, container.get("minMemory"), f"{path}.minMemory", MIN_MEMORY, "32Mi"
    )
    if cpu and memory and memory / 2**20 > ratio * cpu * 1000:
        problems.add(f"{path}.memory", f"must be at most {ratio:g} MiB per millicore of cpu")
    if min_cpu and cpu and min_cpu > cpu:
        problems.add(f"{path}.minCpu", "must be less than or equal to cpu")
    if min_memory and memory and min_memory > memory:
        problems.add(f"{path}.minMemory", "must be less than or equal to memory")


def _check_quantity(
    problems: Problems, value: object, path: str, low: float, low_text: str
) -> float | None:
    if value is None:
        return None
    amount = quantity(value) if isinstance(value, str) and len(value) <= QUANTITY_LIMIT else None
    if amount is None:
        problems.add(
            path,
            f"with value {value!r} fails to match the required pattern: /^{_QUANTITY.pattern}$/",
        )
    elif amount < low:
        problems.add(path, f"must be greater than or equal to {low_text}")
    return amount


def _check_ports(problems: Problems, container: Document, path: str) -> None:
    check_number(problems, container.get("port"), f"{path}.port", PORT_LOW, PORT_HIGH)
    for index, item in enumerate(sequence(problems, container.get("ports"), f"{path}.ports")):
        where = f"{path}.ports[{index}]"
        port = mapping(problems, item, where)
        if port.get("number") is None:
            problems.add(f"{where}.number", "is required")
        check_number(problems, port.get("number"), f"{where}.number", PORT_LOW, PORT_HIGH)
        check_choice(
            problems, port.get("protocol"), f"{where}.protocol", ("http", "http2", "grpc", "tcp")
        )
        if port.get("number") in _RESERVED_PORTS:
            problems.add(f"{where}.number", "is reserved for system use")


def _check_volumes(problems: Problems, container: Document, path: str) -> None:
    paths: list[str] = []
    for index, item in enumerate(
        sequence(problems, container.get("volumes"), f"{path}.volumes", VOLUME_LIMIT)
    ):
        where = f"{path}.volumes[{index}]"
        volume = mapping(problems, item, where)
        uri, mount = volume.get("uri"), volume.get("path")
        if not isinstance(uri, str) or not uri.startswith(_VOLUME_SCHEMES):
            problems.add(f"{where}.uri", f"must begin with one of [{', '.join(_VOLUME_SCHEMES)}]")
        if not isinstance(mount, str) or not mount.startswith("/"):
            problems.add(f"{where}.path", "must be an absolute path")
            continue
        if mount.rstrip("/") in _RESERVED_PATHS:
            problems.add(f"{where}.path", f"{mount!r} is reserved for system use")
        if any(_nested(mount, other) for other in paths):
            problems.add(f"{where}.path", "must not be nested in another mount path")
        paths.append(mount)


def _nested(one: str, other: str) -> bool:
    first, second = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)


def _check_job(problems: Problems, spec: Document, config: PlatformConfig) -> None:
    if spec.get("type") != "cron":
        if "job" in spec:
            problems.add("spec.job", "is only allowed for workloads of type cron")
        return
    if spec.get("job") is None:
        problems.add("spec.job", "is required")
        return
    job = mapping(problems, spec["job"], "spec.job")
    known = _JOB_FIELDS | {"suspend"} if config.job_suspend == "ignore" else _JOB_FIELDS
    check_known(problems, job, "spec.job", known)
    _check_schedule(problems, job.get("schedule"))
    check_choice(
        problems,
        job.get("concurrencyPolicy"),
        "spec.job.concurrencyPolicy",
        ("Forbid", "Replace", "Allow"),
    )
    check_choice(
        problems, job.get("restartPolicy"), "spec.job.restartPolicy", ("Never", "OnFailure")
    )
    check_number(problems, job.get("historyLimit"), "spec.job.historyLimit", 1, HISTORY_MAX)
    check_number(
        problems,
        job.get("activeDeadlineSeconds"),
        "spec.job.activeDeadlineSeconds",
        1,
        DEADLINE_LIMIT,
    )


def _check_schedule(problems: Problems, schedule: object) -> None:
    if not isinstance(schedule, str):
        problems.add("spec.job.schedule", "is required")
        return
    try:
        parse_schedule(schedule)
    except InvalidScheduleError as error:
        problems.add("spec.job.schedule", f"is not a cron schedule: {error}")


def _check_options(problems: Problems, spec: Document, grace_max: int) -> None:
    options = mapping(problems, spec.get("defaultOptions"), "spec.defaultOptions")
    for name in ("suspend", "capacityAI", "debug"):
        if name in options and not isinstance(options[name], bool):
            problems.add(f"spec.defaultOptions.{name}", "must be a boolean")
    check_gpu_options(problems, spec)
    _check_serving_options(problems, options, "spec.defaultOptions")
    for index, item in enumerate(sequence(problems, spec.get("localOptions"), "spec.localOptions")):
        path = f"spec.localOptions[{index}]"
        _check_serving_options(problems, mapping(problems, item, path), path)
    rollout = mapping(problems, spec.get("rolloutOptions"), "spec.rolloutOptions")
    path = "spec.rolloutOptions.terminationGracePeriodSeconds"
    check_number(problems, rollout.get("terminationGracePeriodSeconds"), path, 0, grace_max)
    security = mapping(problems, spec.get("securityOptions"), "spec.securityOptions")
    for name in ("runAsUser", "filesystemGroupId"):
        check_number(problems, security.get(name), f"spec.securityOptions.{name}", 1, 65_534)
    _check_firewall(problems, mapping(problems, spec.get("firewallConfig"), "spec.firewallConfig"))


def _check_serving_options(problems: Problems, options: Document, path: str) -> None:
    check_number(problems, options.get("timeoutSeconds"), f"{path}.timeoutSeconds", 1, 3600)
    check_scaling(problems, options.get("autoscaling"), f"{path}.autoscaling")


def _check_firewall(problems: Problems, firewall: Document) -> None:
    external = mapping(problems, firewall.get("external"), "spec.firewallConfig.external")
    sequence(
        problems,
        external.get("inboundAllowCIDR"),
        "spec.firewallConfig.external.inboundAllowCIDR",
        250,
    )
    sequence(
        problems,
        external.get("outboundAllowCIDR"),
        "spec.firewallConfig.external.outboundAllowCIDR",
    )
    ports = "spec.firewallConfig.external.outboundAllowPort"
    for index, item in enumerate(sequence(problems, external.get("outboundAllowPort"), ports)):
        port = mapping(problems, item, f"{ports}[{index}]")
        check_choice(
            problems, port.get("protocol"), f"{ports}[{index}].protocol", ("http", "https", "tcp")
        )
    internal = mapping(problems, firewall.get("internal"), "spec.firewallConfig.internal")
    path = "spec.firewallConfig.internal.inboundAllowType"
    allowed = ("none", "same-gvc", "same-org", "workload-list")
    check_choice(problems, internal.get("inboundAllowType"), path, allowed)


def check_run(problems: Problems, body: Document, workload: Document, locations: list[str]) -> None:
    """Check the body of a ``runCronWorkload`` command."""
    check_tags(problems, body.get("tags"))
    spec = mapping(problems, body.get("spec"), "spec")
    check_known(
        problems,
        spec,
        "spec",
        ("location", "scheduleName", "containerOverrides", "activeDeadlineSeconds"),
    )
    _check_location(problems, spec.get("location"), locations)
    check_number(
        problems, spec.get("activeDeadlineSeconds"), "spec.activeDeadlineSeconds", 1, DEADLINE_LIMIT
    )
    if workload["spec"].get("type") != "cron":
        problems.say("runCronWorkload needs a workload of type cron")
    names = [container.get("name") for container in workload["spec"].get("containers", ())]
    for index, item in enumerate(
        sequence(problems, spec.get("containerOverrides"), "spec.containerOverrides")
    ):
        path = f"spec.containerOverrides[{index}]"
        override = mapping(problems, item, path)
        check_known(problems, override, path, _OVERRIDE_FIELDS)
        if override.get("name") not in names:
            problems.add(f"{path}.name", f"must be one of [{', '.join(map(str, names))}]")
        check_text(problems, override.get("image"), f"{path}.image")
        _check_process(problems, override, path)
        _check_quantity(problems, override.get("cpu"), f"{path}.cpu", MIN_CPU, "25m")
        _check_quantity(problems, override.get("memory"), f"{path}.memory", MIN_MEMORY, "32Mi")


def check_stop(
    problems: Problems, body: Document, locations: list[str], config: PlatformConfig
) -> None:
    """Check the body of a ``stopReplica`` command."""
    check_tags(problems, body.get("tags"))
    spec = mapping(problems, body.get("spec"), "spec")
    check_known(problems, spec, "spec", ("location", "replica"))
    _check_location(problems, spec.get("location"), locations)
    check_text(problems, spec.get("replica"), "spec.replica")
    if not spec.get("replica") and config.stop_without_replica == "refuse":
        problems.add("spec.replica", "is required")


def _check_location(problems: Problems, location: object, locations: list[str]) -> None:
    if not isinstance(location, str):
        problems.add("spec.location", "is required")
    elif location not in locations:
        problems.add(
            "spec.location", f"{location!r} is not a location of the gvc [{', '.join(locations)}]"
        )
