"""The rules for the GPUs of a container and for its lifecycle hooks."""

from __future__ import annotations

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.checks import (
    Problems,
    check_choice,
    check_known,
    check_number,
    mapping,
    sequence,
)

HOOKS = ("postStart", "preStop")
# The most GPUs of each model that one container can have.
_GPU_MODELS = {"t4": 4, "a10g": 1}


def check_gpu(problems: Problems, container: Document, path: str) -> None:
    """Check the model and the number of a container's GPUs."""
    gpu = mapping(problems, container.get("gpu"), f"{path}.gpu")
    if gpu.get("nvidia") is None:
        return
    where = f"{path}.gpu.nvidia"
    nvidia = mapping(problems, gpu["nvidia"], where)
    model, quantity = nvidia.get("model"), nvidia.get("quantity")
    if model is None:
        problems.add(f"{where}.model", "is required")
    check_choice(problems, model, f"{where}.model", tuple(_GPU_MODELS))
    if quantity is None:
        problems.add(f"{where}.quantity", "is required")
    most = _GPU_MODELS.get(str(model), max(_GPU_MODELS.values()))
    check_number(problems, quantity, f"{where}.quantity", 1, most)


def check_gpu_options(problems: Problems, spec: Document) -> None:
    """Check that a workload with GPUs leaves its resources as they are.

    Capacity AI is on unless a workload turns it off.
    """
    containers = sequence(problems, spec.get("containers"), "spec.containers")
    gpus = [each.get("gpu") for each in containers if isinstance(each, dict)]
    if not any(isinstance(gpu, dict) and gpu.get("nvidia") is not None for gpu in gpus):
        return
    rule = "must be false for a workload with a gpu"
    options = mapping(problems, spec.get("defaultOptions"), "spec.defaultOptions")
    if options.get("capacityAI", True):
        problems.add("spec.defaultOptions.capacityAI", rule)
    for index, item in enumerate(sequence(problems, spec.get("localOptions"), "spec.localOptions")):
        own = mapping(problems, item, f"spec.localOptions[{index}]")
        if own.get("capacityAI"):
            problems.add(f"spec.localOptions[{index}].capacityAI", rule)


def check_lifecycle(problems: Problems, container: Document, path: str) -> None:
    """Check the commands that a container runs after its start and before its end."""
    lifecycle = mapping(problems, container.get("lifecycle"), f"{path}.lifecycle")
    check_known(problems, lifecycle, f"{path}.lifecycle", HOOKS)
    for name in HOOKS:
        if lifecycle.get(name) is None:
            continue
        where = f"{path}.lifecycle.{name}"
        hook = mapping(problems, lifecycle[name], where)
        check_known(problems, hook, where, ("exec",))
        execute = mapping(problems, hook.get("exec"), f"{where}.exec")
        if not sequence(problems, execute.get("command"), f"{where}.exec.command"):
            problems.add(f"{where}.exec.command", "must contain at least 1 items")
