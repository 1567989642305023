"""The rules for what keeps a workload serving: its probes, and how many replicas it has."""

from __future__ import annotations

from cpln_flows.emulator.checks import (
    Problems,
    check_choice,
    check_known,
    check_number,
    mapping,
)

REPLICA_LIMIT = 250
SCALING_METRICS = (
    "concurrency", "cpu", "memory", "rps", "latency", "keda", "disabled",
)  # fmt: skip
_QUESTIONS = ("exec", "grpc", "tcpSocket", "httpGet")
_PORT_MAX = 65_535
_HOUR = 3600
_NUMBERS = {
    "initialDelaySeconds": (0, _HOUR),
    "periodSeconds": (1, _HOUR),
    "timeoutSeconds": (1, _HOUR),
    "successThreshold": (1, 100),
    "failureThreshold": (1, 100),
}


def check_probe(problems: Problems, given: object, path: str) -> None:
    """Check a readiness or a liveness probe."""
    if given is None:
        return
    probe = mapping(problems, given, path)
    check_known(problems, probe, path, (*_QUESTIONS, *_NUMBERS))
    asked = [name for name in _QUESTIONS if probe.get(name) is not None]
    if len(asked) != 1:
        problems.add(path, f"must contain exactly one of [{', '.join(_QUESTIONS)}]")
    for name, (low, high) in _NUMBERS.items():
        check_number(problems, probe.get(name), f"{path}.{name}", low, high)
    for name in asked:
        question = mapping(problems, probe[name], f"{path}.{name}")
        check_number(problems, question.get("port"), f"{path}.{name}.port", 1, _PORT_MAX)
        check_choice(problems, question.get("scheme"), f"{path}.{name}.scheme", ("HTTP", "HTTPS"))


def check_scaling(problems: Problems, given: object, path: str) -> None:
    """Check how many replicas a workload has."""
    scaling = mapping(problems, given, path)
    check_choice(problems, scaling.get("metric"), f"{path}.metric", SCALING_METRICS)
    least, most = scaling.get("minScale"), scaling.get("maxScale")
    check_number(problems, least, f"{path}.minScale", 0, REPLICA_LIMIT)
    check_number(problems, most, f"{path}.maxScale", 0, REPLICA_LIMIT)
    if isinstance(least, int) and isinstance(most, int) and least > most:
        problems.add(f"{path}.minScale", "must be less than or equal to maxScale")
