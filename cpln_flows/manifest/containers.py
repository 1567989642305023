"""Container fields that both kinds of manifest share: environment, amounts, hooks and rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cpln_flows.manifest import limits
from cpln_flows.manifest.document import Reader, describe, describe_apart
from cpln_flows.manifest.manifest import ContainerSpec
from cpln_flows.model.display import shown

VALUE_ONLY = (
    "only plain values are supported: give `value`, such as cpln://secret/NAME.KEY for a secret"
)

_SCALARS = (str, int, float)


def environment(container: Reader, source: Callable[[Reader], str] | None = None) -> dict[str, str]:
    """Read the variables of a container; numbers and booleans count as unquoted strings.

    Args:
        container: The container.
        source: Reads a value that is described by ``valueFrom``. Default: such a value is a fault.
    """
    found: dict[str, str] = {}
    for variable in container.pairs("env"):
        name, value = variable.text("name", required=True), variable.raw("value")
        if source is None:
            variable.refuse("valueFrom", VALUE_ONLY)
        elif variable.raw("valueFrom") is not None and value not in {None, ""}:
            variable.fault("valueFrom", "is given in addition to a value; remove one of them")
        elif variable.raw("valueFrom") is not None:
            value = source(variable)
        if not isinstance(value, (*_SCALARS, type(None))):
            variable.fault("value", f"expected a string, found {describe(value)}")
        text = "" if value is None else text_of(value)
        if wrong := limits.env_value(text):
            variable.fault("value", wrong)
        if name is not None:
            if wrong := limits.env_name(name):
                variable.fault("name", wrong)
            elif name in found:
                variable.fault("name", f"{name!r} is given twice")
            found[name] = text
        variable.finish()
    return found


def amount(
    reader: Reader, key: str, rule: Callable[[object], tuple[str | None, str | None]]
) -> str | None:
    """Read an amount of CPU or memory in the platform's form."""
    value = reader.raw(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    form, wrong = rule(value)
    if wrong:
        reader.fault(key, wrong)
    return form


def working_folder(container: Reader) -> str | None:
    """Read the working directory."""
    folder = container.text("workingDir")
    if folder is not None and not folder.startswith("/"):
        container.fault("workingDir", f"expected an absolute path, found {shown(folder)}")
    return folder


def filled_amounts(
    container: Reader, name: str | None, cpu: str | None, memory: str | None, *, relaxed: bool
) -> tuple[str, str]:
    """Return the amounts of a container; fill in missing ones, and note that."""
    filled = limits.amounts(cpu, memory, relaxed=relaxed)
    missing = [key for key, given in (("cpu", cpu), ("memory", memory)) if given is None]
    if missing:
        got = {"cpu": f"{filled[0]} of CPU", "memory": f"{filled[1]} of memory"}
        what = " and ".join(got[key] for key in missing)
        container.note(
            "resources",
            f"no limit of {' and '.join(missing)} is given, so {name} gets {what};"
            " set resources.limits to choose",
        )
    return filled


def lifecycle(container: Reader) -> dict[str, Any]:
    """Read the hooks of a container; only commands are supported."""
    return commands_of_hooks(container.child("lifecycle"))


def commands_of_hooks(
    hooks: Reader, look: Callable[[Reader], None] = lambda _: None
) -> dict[str, Any]:
    """Read the commands of hooks.

    Args:
        hooks: The object with the hooks.
        look: Inspects each hook before its command is read.
    """
    found = {}
    for name in ("postStart", "preStop"):
        hook = hooks.child(name)
        look(hook)
        action = hook.child("exec")
        if command := action.texts("command"):
            found[name] = {"exec": {"command": command}}
        action.finish()
        hook.finish()
    hooks.finish()
    return found


def text_of(value: object) -> str:
    """Return an unquoted value as the string that was meant.

    >>> text_of(True), text_of(1)
    ('true', '1')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def tags_of(reader: Reader, key: str) -> dict[str, str]:
    """Read tags: names with scalar values."""
    tags, found = reader.raw(key), {}
    if tags is None:
        return {}
    if not isinstance(tags, dict):
        reader.fault(key, f"expected an object, found {describe_apart(tags)}")
        return {}
    for name, value in tags.items():
        if not isinstance(value, _SCALARS):
            reader.fault(
                f"{key}.{name}",
                f"expected a string, a number or a boolean, found {describe(value)}",
            )
        else:
            found[str(name)] = text_of(value)
    return found


def check_containers(
    found: Sequence[tuple[Reader, ContainerSpec]], parent: Reader, *, relaxed: bool
) -> None:
    """Record the faults of the containers as a whole and of each of them."""
    if not found and parent.raw("containers") in (None, []):
        parent.fault("containers", "there is none; a job needs at least one container")
    if len(found) > limits.CONTAINERS:
        parent.fault(
            "containers", f"there are {len(found)}, the platform allows {limits.CONTAINERS}"
        )
    names: set[str] = set()
    for reader, spec in found:
        if spec.name and (wrong := limits.container_name(spec.name)):
            reader.fault("name", wrong)
        if spec.name in names:
            reader.fault("name", f"{spec.name!r} is also the name of another container")
        names.add(spec.name)
        if spec.command is not None and len(spec.command) > limits.COMMAND_LENGTH:
            reader.fault(
                "command",
                f"is {len(spec.command)} characters long, the platform allows"
                f" {limits.COMMAND_LENGTH} for the executable; put the rest into args",
            )
        if wrong := limits.ratio(spec.cpu, spec.memory, relaxed=relaxed):
            reader.fault("resources" if reader.raw("resources") else "memory", wrong)
