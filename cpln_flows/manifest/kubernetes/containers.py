"""The containers of a pod: the main one, its sidecars and its steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cpln_flows.manifest import containers, limits
from cpln_flows.manifest.document import Reader, describe
from cpln_flows.manifest.kubernetes import fields, steps, variables, volumes
from cpln_flows.manifest.kubernetes.variables import Pod
from cpln_flows.manifest.kubernetes.volumes import Volume
from cpln_flows.manifest.manifest import ContainerSpec

GPU_MODEL = "cpln/gpuModel"
"""Annotation that names the GPU model that a job wants: t4 or a10g."""

_GPU = "nvidia.com/gpu"
_GPUS = {"t4": 4, "a10g": 1}
"""The platform's models, and how many a container may have (control-plane-api.md, F189)."""
_GPU_OF_SELECTOR = re.compile(r"(?:^|[^a-z0-9])(t4|a10g)(?:[^a-z0-9]|$)")
_AMOUNTS: Mapping[str, Callable[[object], tuple[str | None, str | None]]] = {
    "cpu": limits.cpu,
    "memory": limits.memory,
}
_LEAST = {"cpu": "minCpu", "memory": "minMemory"}


@dataclass(frozen=True)
class Surroundings:
    """The context in which a container is read.

    Attributes:
        pod: The pod, from which its variables may be read.
        default_image: Image of a container that names none.
        is_relaxed: Whether the platform allows more memory per CPU than usual.
        gpu_model: The GPU model, if the job names one.
        volumes: The volumes of the pod by their names.
    """

    pod: Pod
    default_image: str | None
    is_relaxed: bool
    gpu_model: str | None
    volumes: Mapping[str, Volume] = field(default_factory=dict)


def gpu_model(pod: Reader, annotations: Mapping[str, str]) -> str | None:
    """Return the GPU model that a pod requests by an annotation or by its node selector."""
    if model := annotations.get(GPU_MODEL):
        return model.lower()
    selector = pod.raw("nodeSelector")
    texts = (
        [str(value).lower() for value in selector.values()] if isinstance(selector, Mapping) else []
    )
    return next((match[1] for text in texts if (match := _GPU_OF_SELECTOR.search(text))), None)


def read(
    pod: Reader, around: Surroundings
) -> tuple[list[tuple[Reader, ContainerSpec]], list[Reader]]:
    """Read all containers of a pod.

    In Kubernetes, a sidecar is an init container that always restarts. The conversion keeps
    everything but the start order.

    Returns:
        The containers of the job, the main one first, then its sidecars; and the readers of all
        containers of the pod.
    """
    around = replace(around, volumes=volumes.volumes_of(pod))
    found = [(reader, _container(reader, around)) for reader in pod.children("containers")]
    has_main = bool(found)
    before: list[tuple[Reader, ContainerSpec]] = []
    for reader in pod.children("initContainers"):
        if reader.raw("restartPolicy") == "Always":
            reader.accept("restartPolicy")
            found.append((reader, _container(reader, around, sidecar=True)))
            continue
        step = _container(reader, around)
        if has_main and (wrong := steps.not_exact(step, found[0][1])):
            reader.fault("", wrong)
        before.append((reader, step))
    if found and not has_main:
        pod.fault("containers", "there is none; a sidecar needs a main container beside it")
    readers = [reader for reader, _ in (*found, *before)]
    if found and not pod.has_faults:
        found[0] = (found[0][0], steps.joined([step for _, step in before], found[0][1]))
    return found, readers


def _container(reader: Reader, around: Surroundings, *, sidecar: bool = False) -> ContainerSpec:
    fields.apply(
        reader,
        {
            key: rule
            for key, rule in fields.CONTAINER.items()
            if not (sidecar and key == "restartPolicy")
        },
    )
    command, args = reader.words("command"), reader.words("args")
    if command[:1] == [""]:
        reader.fault("command[0]", "is empty; expected an executable")
    name, image = reader.text("name", required=True), _image(reader, around.default_image)
    if image is not None and (wrong := limits.image(image)):
        reader.fault("image", wrong)
    if name == "":
        reader.fault("name", "is empty; expected a name")
    cpu, memory, extra = _resources(reader, name, around)
    extra |= {
        "workingDir": containers.working_folder(reader),
        "volumes": volumes.mounts_of(reader, around.volumes),
        "lifecycle": _lifecycle(reader),
    }
    amounts = {
        "limits.cpu": cpu,
        "limits.memory": memory,
        "requests.cpu": extra.get("minCpu") or cpu,
        "requests.memory": extra.get("minMemory") or memory,
    }
    spec = ContainerSpec(
        name=name or "",
        image=image or "",
        command=command[0] if command else None,
        args=(*command[1:], *args),
        env=variables.environment(reader, around.pod, amounts),
        env_from=variables.sources(reader),
        cpu=cpu,
        memory=memory,
        extra={key: value for key, value in extra.items() if value},
    )
    reader.accept("securityContext")  # read for all containers together
    reader.finish()
    return spec


def _image(reader: Reader, default: str | None) -> str | None:
    """Read the image; an empty or missing one is replaced by the default, if there is one."""
    if default is not None and reader.raw("image") in {None, ""}:
        return default
    return reader.text("image", required=True)


def _resources(
    container: Reader, name: str | None, around: Surroundings
) -> tuple[str, str, dict[str, Any]]:
    """Read limits and requests: the maximum and the minimum; one alone serves as both."""
    resources = container.child("resources")
    fields.apply(resources, fields.RESOURCES)
    most, least = (_amounts(resources.child(part)) for part in ("limits", "requests"))
    extra: dict[str, Any] = {"gpu": _gpu(resources, around.gpu_model)}
    resources.finish()
    cpu, memory = containers.filled_amounts(
        container,
        name,
        most["cpu"] or least["cpu"],
        most["memory"] or least["memory"],
        relaxed=around.is_relaxed,
    )
    for key, high in (("cpu", cpu), ("memory", memory)):
        low = least[key]
        if low is None or low == high:
            continue
        if not limits.least_within_most(low, high):
            resources.fault(f"requests.{key}", f"{low} is more than the limit, {high}")
        extra[_LEAST[key]] = low
    return cpu, memory, extra


def _amounts(part: Reader) -> dict[str, str | None]:
    found = {key: containers.amount(part, key, rule) for key, rule in _AMOUNTS.items()}
    part.accept(_GPU)
    for key in part.keys:
        if key == "ephemeral-storage":
            part.accept(key)
            part.note(key, "has no effect: disk space cannot be requested")
        elif key.startswith("hugepages-"):
            part.refuse(key, "huge pages are not available; request memory instead")
        elif "/" in key and key != _GPU:
            part.refuse(key, f"the platform has no such device; the only one is {_GPU}")
    part.finish()
    return found


def _gpu(resources: Reader, model: str | None) -> dict[str, Any] | None:
    """Read the number of requested GPUs; on Kubernetes, limit and request must agree."""
    parts = {part: resources.raw(part) for part in ("limits", "requests")}
    asked = [(part, found.get(_GPU)) for part, found in parts.items() if isinstance(found, Mapping)]
    given = [(part, value) for part, value in asked if value not in (None, "", 0, "0")]
    if not given:
        return None
    part, value = given[0]
    place = f"{part}.{_GPU}"
    count = int(value) if str(value).isdecimal() and len(str(value)) < len("1000") else None
    if count is None or len({str(value) for _, value in given}) > 1:
        resources.fault(
            place, f"expected the same integer in limits and requests, found {describe(value)}"
        )
        return None
    if model is None:
        resources.fault(
            place,
            f"the model is not known; set the annotation {GPU_MODEL} of the job to"
            f" {' or '.join(_GPUS)}",
        )
        return None
    if (most := _GPUS.get(model)) is None:
        resources.fault(
            place,
            f"expected the model {' or '.join(_GPUS)} in the annotation {GPU_MODEL},"
            f" found {describe(model)}",
        )
    elif count > most:
        resources.fault(place, f"a container can have {most} of the model {model}, found {count}")
    return {"nvidia": {"model": model, "quantity": count}}


def _lifecycle(container: Reader) -> dict[str, Any]:
    hooks = container.child("lifecycle")
    fields.apply(hooks, fields.HOOKS)
    return containers.commands_of_hooks(hooks, lambda hook: fields.apply(hook, fields.HOOK))
