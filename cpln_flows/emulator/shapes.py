"""Tables with the JSON type of each field, and the check of a document against them.

The rules about names, limits and formats follow this check and can rely on the types. Fields that a
table does not name pass; those rules decide whether they are known at all.
"""

from __future__ import annotations

from typing import TypeAlias

from cpln_flows.emulator.checks import Problems

Shape: TypeAlias = "str | list[Shape] | dict[str, Shape]"

TEXT, NUMBER, FLAG, SCALAR, OBJECT = "text", "number", "flag", "scalar", "object"
_EACH = "*"

_MESSAGES = {
    TEXT: "must be a string",
    NUMBER: "must be a number",
    FLAG: "must be a boolean",
    SCALAR: "must be one of [string, number, boolean]",
    OBJECT: "must be of type object",
}
_TYPES: dict[str, tuple[type, ...]] = {
    TEXT: (str,),
    NUMBER: (int, float),
    FLAG: (bool,),
    SCALAR: (str, int, float),
    OBJECT: (dict,),
}

_ENV: Shape = [{"name": TEXT, "value": TEXT}]
_SCALING: Shape = {
    "metric": TEXT, "target": NUMBER, "minScale": NUMBER, "maxScale": NUMBER,
    "maxConcurrency": NUMBER, "scaleToZeroDelay": NUMBER, "metricPercentile": TEXT,
    "multi": [{"metric": TEXT, "target": NUMBER}], "keda": OBJECT,
}  # fmt: skip
_PROBE: Shape = {
    "exec": {"command": [TEXT]}, "tcpSocket": {"port": NUMBER}, "grpc": {"port": NUMBER},
    "httpGet": {
        "path": TEXT, "port": NUMBER, "scheme": TEXT,
        "httpHeaders": [{"name": TEXT, "value": TEXT}],
    },
    "initialDelaySeconds": NUMBER, "periodSeconds": NUMBER, "timeoutSeconds": NUMBER,
    "successThreshold": NUMBER, "failureThreshold": NUMBER,
}  # fmt: skip
_OPTIONS: dict[str, Shape] = {
    "suspend": FLAG, "capacityAI": FLAG, "debug": FLAG, "spot": FLAG, "timeoutSeconds": NUMBER,
    "capacityAIUpdateMinutes": NUMBER, "autoscaling": _SCALING, "multiZone": OBJECT,
}  # fmt: skip
_HOOK: Shape = {"exec": {"command": [TEXT]}}
_CONTAINER: dict[str, Shape] = {
    "name": TEXT, "image": TEXT, "cpu": TEXT, "memory": TEXT, "minCpu": TEXT, "minMemory": TEXT,
    "command": TEXT, "args": [TEXT], "env": _ENV, "inheritEnv": FLAG, "workingDir": TEXT,
    "port": NUMBER, "ports": [{"number": NUMBER, "protocol": TEXT}],
    "readinessProbe": _PROBE, "livenessProbe": _PROBE,
    "lifecycle": {"postStart": _HOOK, "preStop": _HOOK},
    "volumes": [{"uri": TEXT, "path": TEXT, "recoveryPolicy": TEXT}],
    "metrics": OBJECT, "gpu": {"nvidia": {"model": TEXT, "quantity": NUMBER}, "custom": OBJECT},
}  # fmt: skip
_FIREWALL: Shape = {
    "external": {
        "inboundAllowCIDR": [TEXT], "inboundBlockedCIDR": [TEXT], "outboundAllowHostname": [TEXT],
        "outboundAllowPort": [{"protocol": TEXT, "number": NUMBER}], "outboundAllowCIDR": [TEXT],
        "outboundBlockedCIDR": [TEXT], "http": OBJECT,
    },
    "internal": {"inboundAllowType": TEXT, "inboundAllowWorkload": [TEXT]},
}  # fmt: skip
_WORKLOAD: dict[str, Shape] = {
    "type": TEXT,
    "containers": [_CONTAINER],
    "identityLink": TEXT,
    "job": {
        "schedule": TEXT, "concurrencyPolicy": TEXT, "historyLimit": NUMBER, "restartPolicy": TEXT,
        "activeDeadlineSeconds": NUMBER,
    },
    "defaultOptions": _OPTIONS,
    "localOptions": [{**_OPTIONS, "location": TEXT}],
    "firewallConfig": _FIREWALL,
    "rolloutOptions": {"terminationGracePeriodSeconds": NUMBER, "minReadySeconds": NUMBER},
    "securityOptions": {"runAsUser": NUMBER, "filesystemGroupId": NUMBER},
    "loadBalancer": OBJECT,
    "sidecar": OBJECT,
    "supportDynamicTags": FLAG,
    "requestRetryPolicy": OBJECT,
    "vm": OBJECT,
}  # fmt: skip
_BASE: dict[str, Shape] = {"name": TEXT, "description": TEXT, "tags": {_EACH: SCALAR}}
_GVC: Shape = {
    "staticPlacement": {"locationLinks": [TEXT], "locationQuery": OBJECT},
    "loadBalancer": {"dedicated": FLAG, "trustedProxies": NUMBER},
    "env": _ENV,
    "pullSecretLinks": [TEXT],
}
_CLOUD = dict.fromkeys(("aws", "gcp", "azure", "ngs"), OBJECT)
_KINDS: dict[str, dict[str, Shape]] = {
    "org": {"spec": {"observability": {"logsRetentionDays": NUMBER}}},
    "gvc": {"spec": _GVC},
    "identity": {
        "spec": OBJECT, **_CLOUD, "networkResources": [OBJECT], "nativeNetworkResources": [OBJECT],
    },
    "policy": {
        "targetKind": TEXT, "target": TEXT, "targetLinks": [TEXT], "targetQuery": OBJECT,
        "bindings": [{"permissions": [TEXT], "principalLinks": [TEXT]}],
    },
    "secret": {"type": TEXT},
    "workload": {"spec": _WORKLOAD},
    "volumeset": {
        "spec": {"fileSystemType": TEXT, "performanceClass": TEXT, "initialCapacity": NUMBER},
    },
    "group": {"memberLinks": [TEXT], "memberQuery": OBJECT, "identityMatcher": OBJECT},
    "cloudaccount": {"provider": TEXT, "data": OBJECT},
    "agent": {"spec": OBJECT},
}  # fmt: skip
COMMAND: Shape = {
    "type": TEXT,
    "tags": {_EACH: SCALAR},
    "conflictQuery": OBJECT,
    "spec": {
        "location": TEXT, "scheduleName": TEXT, "activeDeadlineSeconds": NUMBER, "replica": TEXT,
        "containerOverrides": [
            {
                "name": TEXT, "env": _ENV, "command": TEXT, "args": [TEXT], "memory": TEXT,
                "cpu": TEXT, "image": TEXT,
            }
        ],
    },
}  # fmt: skip


def shape_of(kind: str) -> Shape:
    """Return the types of the fields of a kind of object."""
    return {**_BASE, **_KINDS.get(kind, {})}


def check_shape(problems: Problems, value: object, shape: Shape, path: str = "") -> None:
    """Note every field whose type differs from its table.

    An absent field, or ``null``, has no type.
    """
    if value is None:
        return
    if isinstance(shape, list):
        _check_items(problems, value, shape[0], path)
    elif isinstance(shape, dict):
        _check_fields(problems, value, shape, path)
    elif not isinstance(value, _TYPES[shape]) or (isinstance(value, bool) and shape == NUMBER):
        problems.add(path, _MESSAGES[shape])


def _check_items(problems: Problems, value: object, shape: Shape, path: str) -> None:
    if not isinstance(value, list):
        problems.add(path, "must be an array")
        return
    for index, item in enumerate(value):
        if item is None:
            problems.add(f"{path}[{index}]", "must not be null")
        check_shape(problems, item, shape, f"{path}[{index}]")


def _check_fields(problems: Problems, value: object, shape: dict[str, Shape], path: str) -> None:
    if not isinstance(value, dict):
        problems.add(path, "must be of type object")
        return
    for name, item in value.items():
        expected = shape.get(name, shape.get(_EACH))
        if expected is not None:
            check_shape(problems, item, expected, f"{path}.{name}" if path else name)
