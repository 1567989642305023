"""Init containers: steps that run before the main container, as a part of its command.

The platform has no init containers. A step becomes a part of the main command if that is
equivalent: it runs in the same image, with the same variables, mounts and user, and one of the two
commands shows that the image has a shell. Each step must succeed before the next begins. The main
program replaces the shell, so it receives the signals, and the exit code is its own.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import replace

from cpln_flows.manifest import limits
from cpln_flows.manifest.manifest import ContainerSpec

_SHELLS = frozenset({"ash", "bash", "dash", "sh"})
_INSTEAD = "run it in the main container's command, or as a job before this one"


def not_exact(step: ContainerSpec, main: ContainerSpec) -> str | None:
    """Explain why a step cannot be a part of the main command, if it cannot.

    Args:
        step: The init container.
        main: The main container.
    """
    if step.image != main.image:
        return (
            f"its image {step.image} differs from the main container's, and a job has one command;"
            f" {_INSTEAD}"
        )
    if step.command is None or main.command is None:
        which = "it" if step.command is None else "the main container"
        return (
            f"{which} has no command, and the command of an image is not known;"
            f" write the command, or {_INSTEAD}"
        )
    if _shell((step, main)) is None:
        return (
            "neither it nor the main container starts a shell, so the image may not have one;"
            f" {_INSTEAD}"
        )
    if other := _surroundings(step, main):
        return f"it has {other} than the main container; give both the same, or {_INSTEAD}"
    return None


def _surroundings(step: ContainerSpec, main: ContainerSpec) -> str | None:
    """Name something that a step has and the main container does not have, if there is any."""
    if dict(step.env).items() - dict(main.env).items() or set(step.env_from) - set(main.env_from):
        return "other variables"
    if any(volume not in main.extra.get("volumes", ()) for volume in step.extra.get("volumes", ())):
        return "other mounts"
    if step.extra.get("workingDir") != main.extra.get("workingDir"):
        return "another working directory"
    return "other hooks" if step.extra.get("lifecycle") else None


def joined(steps: Sequence[ContainerSpec], main: ContainerSpec) -> ContainerSpec:
    """Return the main container with the steps before its own program.

    Args:
        steps: Init containers that can be a part of the main command, in their order.
        main: The main container.

    Example:
        >>> step = ContainerSpec("init", "app:1", "sh", ("-c", "prepare"))
        >>> made = joined([step], ContainerSpec("main", "app:1", "python", ("-m", "app")))
        >>> made.command, made.args
        ('sh', ('-c', '(sh -c prepare) && exec python -m app'))
    """
    shell = _shell((*steps, main))
    if not steps or shell is None:
        return main
    before = " && ".join(f"({shlex.join(_words(step))})" for step in steps)
    return replace(main, command=shell, args=("-c", f"{before} && exec {shlex.join(_words(main))}"))


def _words(container: ContainerSpec) -> list[str]:
    return [container.command or "", *container.args]


def _shell(containers: Sequence[ContainerSpec]) -> str | None:
    commands = [container.command for container in containers if container.command]
    found = (command for command in commands if posixpath.basename(command) in _SHELLS)
    return next((command for command in found if len(command) <= limits.COMMAND_LENGTH), None)
